"""Markdown to sections: headings kept as structure, tables and code as they stand, inline marks removed."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from hearth_indexer.documents import Section

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_FRONT_MATTER = re.compile(r"\A---\n((?:[ \t]*\n|#.*\n)*[\"']?[\w-]+[\"']?[ \t]*:[\s\S]*?)\n---\s*\n")
"""Begins with a key. Other text between two lines of dashes is text."""
_FRONT_TITLE = re.compile(r"^title:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)


def parse_markdown(text: str) -> tuple[str, tuple[Section, ...]]:
    """The title (front matter, else the first heading of level 1) and the sections. Headings exclude the title."""
    text = text.replace("\r\n", "\n")
    front = _FRONT_MATTER.match(text)
    named = _FRONT_TITLE.search(front.group(1)) if front else None
    title = named.group(1) if named else ""
    body = text[front.end() :] if front else text
    tokens, lines = _MARKDOWN.parse(body), body.split("\n")
    trail: list[tuple[int, str]] = []
    sections: list[Section] = []
    blocks: list[str] = []

    def close() -> None:
        if blocks:
            sections.append(Section(tuple(words for _, words in trail), "\n\n".join(blocks)))
            blocks.clear()

    at = 0
    while at < len(tokens):
        end = _end_of_block(tokens, at)
        if tokens[at].type == "heading_open":
            close()
            level, words = int(tokens[at].tag[1:]), inline_text(tokens[at + 1])
            if level == 1 and not title:
                title = words
            trail = [(above, name) for above, name in trail if above < level]
            if words != title:
                trail.append((level, words))
        else:
            block = _block_text(tokens[at:end], lines)
            if block:
                blocks.append(block)
        at = end
    close()
    return title, tuple(sections)


def _end_of_block(tokens: list[Token], start: int) -> int:
    """The index after the top-level block that starts here."""
    depth = 0
    for at in range(start, len(tokens)):
        depth += tokens[at].nesting
        if depth == 0:
            return at + 1
    return len(tokens)


def _block_text(block: list[Token], lines: list[str]) -> str:
    first = block[0]
    if first.type == "html_block" and first.content.lstrip().startswith("<!--"):
        return ""
    if first.type in ("table_open", "fence", "code_block", "html_block") and first.map is not None:
        return "\n".join(lines[first.map[0] : first.map[1]]).strip()
    written: list[str] = []
    marker, depth = "", 0
    for token in block:
        if token.type in ("bullet_list_open", "ordered_list_open"):
            depth += 1
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            depth -= 1
        elif token.type == "list_item_open":
            marker = f"{token.info}{token.markup} " if token.info else "- "
        elif token.type == "inline":
            written.append("  " * max(depth - 1, 0) + marker + inline_text(token))
            marker = ""
        elif token.type in ("fence", "code_block"):
            written.append(token.content.rstrip())
    return "\n".join(written).strip()


def inline_text(token: Token) -> str:
    """The words of an inline token: emphasis and link targets gone, code and link texts kept, breaks as spaces."""
    parts: list[str] = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak") or _is_break(child):
            parts.append(" ")
        elif child.type == "image":
            parts.append(child.content)
    return re.sub(r"\s+", " ", "".join(parts)).strip()


def _is_break(token: Token) -> bool:
    return token.type == "html_inline" and re.match(r"<br\b", token.content, re.IGNORECASE) is not None
