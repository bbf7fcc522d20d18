"""Reads documents of every known format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from hearth_indexer.charset import declared_in, decoded
from hearth_indexer.documents import Document, RawDocument, Section, Skipped, UnreadableError, encodable
from hearth_indexer.isolation import in_own_process
from hearth_indexer.parse_html import parse_html
from hearth_indexer.parse_markdown import parse_markdown
from hearth_indexer.parse_pdf import parse_pdf

TextParser = Callable[[str], tuple[str, tuple[Section, ...]]]

SUFFIXES = {
    ".md": "markdown", ".markdown": "markdown", ".html": "html", ".htm": "html",
    ".txt": "text", ".text": "text", ".pdf": "pdf",
}  # fmt: skip
MEDIA_TYPES = {
    "text/markdown": "markdown", "text/html": "html", "application/xhtml+xml": "html",
    "text/plain": "text", "application/pdf": "pdf",
}  # fmt: skip

READ_SECONDS = 120.0
READ_MEMORY = 2 * 2**30
"""What reading one PDF or one large text may take on top of what the indexer already uses."""

LARGE_TEXT = 64 * 2**10
"""Characters above which a text is read in a process of its own. A fork takes 15 ms; what takes a parser quadratic time
(10,000 nested elements, a table of thousands of columns) takes a second below it and hours far above."""

SURE_MEDIA_TYPES = frozenset({"text/html", "application/xhtml+xml", "application/pdf"})
"""What a server says of these goes before the name: `README.md` may be the page that shows one. Of a Markdown file many
say text/plain."""


def parse_all(found: Iterable[RawDocument | Skipped], max_pages: int) -> Iterator[Document | Skipped]:
    """Every document read, or skipped with a reason. One document may give both: the part that was read, and the rest.

    A document that cannot be read never ends the run.
    """
    for named in found:
        raw = replace(named, uri=encodable(named.uri))
        if isinstance(raw, Skipped):
            yield raw
            continue
        try:
            yield from parse(raw, max_pages)
        except UnreadableError as error:
            yield Skipped(raw.uri, str(error))


def parse(raw: RawDocument, max_pages: int) -> Iterator[Document | Skipped]:
    """One document.

    Raises UnreadableError.
    """
    kind = _kind(raw)
    if kind is None:
        expected = " ".join(sorted(SUFFIXES))
        raise UnreadableError(f"unknown type {raw.name!r}: expected {expected}")
    stem = PurePosixPath(raw.name).stem
    if kind == "pdf":
        title, sections, pages = in_own_process(parse_pdf, (raw.content, max_pages), READ_SECONDS, READ_MEMORY)
        if pages > max_pages:
            yield Skipped(raw.uri, f"pages {max_pages + 1} to {pages}: parsing.maxPages is {max_pages}")
    else:
        title, sections = _read_text(_TEXT_PARSERS[kind], _decoded(raw, kind))
    if not sections:
        hint = ": scanned pages hold pictures, and there is no text recognition" if kind == "pdf" else ""
        raise UnreadableError(f"holds no text{hint}")
    yield Document(raw.uri, encodable(title or stem), tuple(_encodable(s) for s in sections))


def _kind(raw: RawDocument) -> str | None:
    told = MEDIA_TYPES.get(raw.media_type)
    if told is not None and raw.media_type in SURE_MEDIA_TYPES:
        return told
    return SUFFIXES.get(PurePosixPath(raw.name).suffix.lower()) or told


def _decoded(raw: RawDocument, kind: str) -> str:
    """The server's word goes before the page's own, as in browsers. Only HTML says what it is written in."""
    declared = declared_in(raw.content) if kind == "html" else ""
    return decoded(raw.content, raw.charset or declared or "utf-8")


def _encodable(section: Section) -> Section:
    return Section(tuple(encodable(h) for h in section.headings), encodable(section.text), section.page)


def _read_text(parser: TextParser, text: str) -> tuple[str, tuple[Section, ...]]:
    if len(text) > LARGE_TEXT:
        title, sections = in_own_process(parser, (text,), READ_SECONDS, READ_MEMORY)
        return title, sections
    try:
        return parser(text)
    except RecursionError as error:
        raise UnreadableError("is nested too deeply") from error


def parse_text(text: str) -> tuple[str, tuple[Section, ...]]:
    """Plain text is one section."""
    stripped = text.replace("\r\n", "\n").strip()
    return "", (Section((), stripped),) if stripped else ()


_TEXT_PARSERS: dict[str, TextParser] = {
    "markdown": parse_markdown,
    "html": parse_html,
    "text": parse_text,
}
