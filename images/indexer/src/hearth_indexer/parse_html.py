"""HTML to sections: headings kept as structure, scripts, navigation and forms left out, tables as rows of cells."""

from __future__ import annotations

import re
from collections.abc import Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from hearth_indexer.documents import Section

LEFT_OUT = ("script", "style", "noscript", "template", "nav", "form", "button", "svg", "iframe", "footer", "aside")
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
BLOCKS = frozenset(
    {"p", "li", "tr", "pre", "blockquote", "dt", "dd", "figcaption", "caption", "div", "section", "article"}
    | {"main", "header", "td", "th", "ul", "ol", "dl", "table", "tbody", "thead", "tfoot", "body", "hr", "center"}
    | {"details", "summary", "figure", "address", "fieldset", "legend", "dialog", "hgroup", "menu"}
)
LEAVES = frozenset({"p", "li", "tr", "pre", "dt", "dd", "figcaption", "caption"})
"""Blocks whose whole text is one paragraph, unless they hold structure of their own."""

APART = BLOCKS | HEADINGS
"""What stands apart from the text before and after it."""

_APART = ", ".join(sorted(APART))
_STRUCTURE = ", ".join(["table", *sorted(HEADINGS)])
_STRUCTURE_IN_ROW = ", ".join(["table", *(f"td {heading}" for heading in sorted(HEADINGS))])
"""Of a table that lays out a page; a heading in a th is the heading of a column."""


def parse_html(text: str) -> tuple[str, tuple[Section, ...]]:
    """The title (the first h1, else the title element) and the sections. Headings exclude the title."""
    tree = LexborHTMLParser(text)
    tree.strip_tags(list(LEFT_OUT))
    body = tree.body
    if body is None:
        return "", ()
    first = body.css_first("h1")
    titled = tree.css_first("title")
    title = _words(first) or _words(titled)
    reader = _Reader(title)
    reader.walk(body)
    reader.close()
    return title, tuple(reader.sections)


class _Reader:
    """Walks the tree once and closes a section at every heading."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.sections: list[Section] = []
        self._trail: list[tuple[int, str]] = []
        self._blocks: list[str] = []
        self._loose: list[str] = []

    def walk(self, node: LexborNode) -> None:
        """Reads the children of a block that is no leaf."""
        for child in _children(node):
            self._read(child)
        self._flush()

    def _read(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._loose.append(node.text(deep=False))
        elif tag in HEADINGS:
            self._heading(int(tag[1]), _words(node))
        elif tag in LEAVES and node.css_first(_STRUCTURE_IN_ROW if tag == "tr" else _STRUCTURE) is None:
            self._flush()
            self._leaf(tag, node)
        elif tag in BLOCKS or node.css_first(_APART) is not None:
            self._flush()
            self.walk(node)
        else:
            self._loose.append(_text(node, " "))

    def _heading(self, level: int, words: str) -> None:
        self.close()
        self._trail = [(above, name) for above, name in self._trail if above < level]
        if words and words != self.title:
            self._trail.append((level, words))

    def _leaf(self, tag: str, node: LexborNode) -> None:
        if tag == "tr":
            cells = [_words(cell) for cell in _children(node) if cell.tag in ("td", "th")]
            words = " | ".join(cells) if any(cells) else ""
        elif tag == "pre":
            words = _text(node, "\n").strip("\n")
        else:
            words = _words(node)
        if words:
            marked = f"- {words}" if tag == "li" else words
            self._append(marked, tight=tag in ("li", "tr"))

    def _append(self, words: str, tight: bool) -> None:
        if tight and self._blocks and (self._blocks[-1].startswith("- ") or " | " in self._blocks[-1]):
            self._blocks[-1] += f"\n{words}"
        else:
            self._blocks.append(words)

    def _flush(self) -> None:
        words = re.sub(r"\s+", " ", "".join(self._loose)).strip()
        self._loose.clear()
        if words:
            self._blocks.append(words)

    def close(self) -> None:
        """Ends the section under the present headings."""
        self._flush()
        if self._blocks:
            self.sections.append(Section(tuple(words for _, words in self._trail), "\n\n".join(self._blocks)))
            self._blocks = []


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.child
    while child is not None:
        yield child
        child = child.next


def _words(node: LexborNode | None) -> str:
    return "" if node is None else re.sub(r"\s+", " ", _text(node, " ")).strip()


def _text(node: LexborNode, gap: str) -> str:
    """All text below a node as a browser shows it: a gap at line breaks and around blocks, none around other elements.

    Without recursion: pages that close no `<font>` nest it by the thousand.
    """
    parts: list[str] = []
    left: list[LexborNode | None] = [node]
    while left:
        at = left.pop()
        tag = "" if at is None else at.tag or ""
        if at is not None and tag == "-text":
            parts.append(at.text(deep=False))
        elif tag == "br":
            parts.append(gap)
        elif not tag.startswith(("-", "_")):
            if (at is None or tag in APART) and parts and not parts[-1].endswith((" ", "\n")):
                parts.append(gap)
            if at is not None:
                left += [None] * (tag in APART)  # where the block ends
                left += reversed(list(_children(at)))
    return "".join(parts)
