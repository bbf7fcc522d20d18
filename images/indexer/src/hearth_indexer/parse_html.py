"""HTML to sections: headings kept as structure, scripts, navigation and forms left out, tables as rows of cells."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from hearth_indexer.documents import Section

LEFT_OUT = ("script", "style", "noscript", "template", "nav", "form", "button", "svg", "iframe", "footer", "aside")
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
BLOCKS = frozenset(
    {"p", "li", "tr", "pre", "blockquote", "dt", "dd", "figcaption", "caption", "div", "section", "article"}
    | {"main", "header", "td", "th", "ul", "ol", "dl", "table", "tbody", "thead", "body"}
)
LEAVES = frozenset({"p", "li", "tr", "pre", "dt", "dd", "figcaption", "caption"})
"""Blocks whose whole text is one paragraph."""


def parse_html(text: str) -> tuple[str, tuple[Section, ...]]:
    """The title (the first h1, else the title element) and the sections. Headings exclude the title."""
    tree = LexborHTMLParser(text)
    tree.strip_tags(list(LEFT_OUT))
    body = tree.body
    if body is None:
        return "", ()
    first = body.css_first("h1")
    titled = tree.css_first("title")
    title = _words(first or titled) if first or titled else ""
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
        child = node.child
        while child is not None:
            self._read(child)
            child = child.next
        self._flush()

    def _read(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag == "-text":
            self._loose.append(node.text(deep=False))
        elif tag in HEADINGS:
            self._heading(int(tag[1]), _words(node))
        elif tag in LEAVES:
            self._flush()
            self._leaf(tag, node)
        elif tag in BLOCKS:
            self._flush()
            self.walk(node)
        elif tag == "br":
            self._loose.append("\n")
        elif not tag.startswith(("-", "_")):
            self._loose.append(node.text(deep=True))

    def _heading(self, level: int, words: str) -> None:
        self.close()
        self._trail = [(above, name) for above, name in self._trail if above < level]
        if words and words != self.title:
            self._trail.append((level, words))

    def _leaf(self, tag: str, node: LexborNode) -> None:
        if tag == "tr":
            cells = [_words(cell) for cell in node.css("td, th")]
            words = " | ".join(cells) if any(cells) else ""
        elif tag == "pre":
            words = node.text(deep=True).strip("\n")
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


def _words(node: LexborNode | None) -> str:
    return "" if node is None else re.sub(r"\s+", " ", node.text(deep=True, separator=" ")).strip()
