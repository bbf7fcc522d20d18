"""Reads documents of every known format."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import PurePosixPath

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

NO_TEXT_ENCODINGS = frozenset({"undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape"})
"""Codecs that Python finds by name and no document is written in: some always fail, some take quadratic time."""


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
    kind = SUFFIXES.get(PurePosixPath(raw.name).suffix.lower()) or MEDIA_TYPES.get(raw.media_type)
    if kind is None:
        expected = " ".join(sorted(SUFFIXES))
        raise UnreadableError(f"unknown type {raw.name!r}: expected {expected}")
    stem = PurePosixPath(raw.name).stem
    if kind == "pdf":
        title, sections, pages = in_own_process(parse_pdf, (raw.content, max_pages), READ_SECONDS, READ_MEMORY)
        if pages > max_pages:
            yield Skipped(raw.uri, f"pages {max_pages + 1} to {pages}: parsing.maxPages is {max_pages}")
    else:
        title, sections = _read_text(_TEXT_PARSERS[kind], decoded(raw.content))
    if not sections:
        hint = ": scanned pages hold pictures, and there is no text recognition" if kind == "pdf" else ""
        raise UnreadableError(f"holds no text{hint}")
    yield Document(raw.uri, encodable(title or stem), tuple(_encodable(s) for s in sections))


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


def decoded(content: bytes) -> str:
    """The bytes as text: by byte order mark, by the character set an HTML page declares, else UTF-8.

    Raises UnreadableError where they are not that.
    """
    declared = re.search(rb"<meta[^>]+charset=[\"']?([A-Za-z0-9_-]+)", content[:2048])
    encoding = declared.group(1).decode() if declared else "utf-8"
    for mark, marked in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            encoding = marked
    try:
        if codecs.lookup(encoding).name.replace("-", "_") in NO_TEXT_ENCODINGS:
            raise UnreadableError(f"declares {encoding}, which is no character set of documents")
        text = content.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise UnreadableError(f"is no {encoding} text: {error}") from error
    if "\x00" in text:
        raise UnreadableError("is binary, not text")
    return text
