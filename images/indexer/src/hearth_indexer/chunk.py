"""Documents to chunks: what is embedded, what is shown, and the identity of each."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from hearth_indexer.documents import Document, Section, clipped
from hearth_indexer.outcome import BadConfigurationError
from hearth_indexer.settings import Chunking
from hearth_indexer.split import Piece, pieces, windows
from hearth_indexer.tokens import TokenCounter

DEFAULT_SIZE = 512
BREADCRUMB = " > "
NAME_BYTES = 1024
"""Longest URI, title and chain of headings that is stored. Milvus counts the bytes of a VARCHAR, not its characters."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One row of the index. Equal ids are the same text at the same place; equal digests embed to the same vector."""

    id: str
    document: str
    title: str
    heading: str
    text: str
    content: str
    """What is embedded and what BM25 reads: the headings, then the text."""
    position: int
    """Counts from 0 within the document."""
    page: int
    digest: str


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Sizes in the embedder's tokens, worked out from what was asked for and what the embedder can read."""

    size: int
    overlap: int


def limits(asked: Chunking, counter: TokenCounter) -> ChunkLimits:
    """`size` unset: 512, or less where the embedder reads less. `overlap` unset: an eighth of the size.

    Raises BadConfigurationError where a chunk would be longer than the embedder reads: the rest would be ignored.
    """
    longest = counter.limit or DEFAULT_SIZE
    size = asked.size if asked.size is not None else min(DEFAULT_SIZE, longest)
    if counter.limit is not None and size > counter.limit:
        raise BadConfigurationError(
            f"chunking.size is {size} tokens, but the embedder reads at most {counter.limit}",
            f"set chunking.size to {counter.limit} or less, or leave it out",
        )
    overlap = asked.overlap if asked.overlap is not None else size // 8
    if overlap * 2 > size:
        raise BadConfigurationError(
            f"chunking.overlap is {overlap} tokens, more than half of chunking.size ({size})",
            f"set chunking.overlap to {size // 2} or less",
        )
    return ChunkLimits(size, overlap)


def chunks(document: Document, asked: Chunking, counter: TokenCounter) -> Iterator[Chunk]:
    """The chunks of one document, in reading order."""
    chosen = limits(asked, counter)
    groups = [[s] for s in document.sections] if asked.splitter == "Markdown" else [list(document.sections)]
    position = 0
    for group in groups:
        crumbs = {s: _crumb(document, s, chosen.size // 2, counter) if asked.keep_headings else "" for s in group}
        for section, text in _windows_of(group, crumbs, chosen, counter):
            yield _chunk(document, section, text, position, crumbs[section])
            position += 1


def _windows_of(
    group: list[Section], crumbs: dict[Section, str], chosen: ChunkLimits, counter: TokenCounter
) -> Iterator[tuple[Section, str]]:
    """The texts of a run of sections, cut and joined to windows; each with the section that it begins in."""
    budget = chosen.size - max(counter.count(crumb) for crumb in crumbs.values())
    parts: list[Piece] = []
    origin: list[Section] = []
    for section in group:
        for piece in pieces(_spoken(section, bool(crumbs[section]) and len(group) > 1), budget, counter.count):
            parts.append(piece)
            origin.append(section)
    for start, end in windows(parts, budget, min(chosen.overlap, budget // 2)):
        text = "".join(piece.text for piece in parts[start:end]).strip()
        if text:
            yield origin[start], text


def _spoken(section: Section, with_heading: bool) -> str:
    """The section as it reads in a run of sections: its last heading on a line of its own."""
    heading = f"{section.headings[-1]}\n" if with_heading and section.headings else ""
    return f"{heading}{section.text}\n\n"


def breadcrumb(title: str, section: Section) -> str:
    """`Title > Section > Subsection`."""
    return BREADCRUMB.join(part for part in (title, *section.headings) if part)


def _crumb(document: Document, section: Section, room: int, counter: TokenCounter) -> str:
    """The headings to embed with the text: all of them, or the last ones that fit in `room` tokens."""
    headings = [part for part in (document.title, *section.headings) if part]
    for first in range(len(headings)):
        crumb = BREADCRUMB.join(headings[first:])
        if counter.count(crumb) <= room:
            return crumb
    return ""


def _chunk(document: Document, section: Section, text: str, position: int, crumb: str) -> Chunk:
    content = f"{crumb}\n{text}" if crumb else text
    return Chunk(
        id=_sha256(f"{document.uri}\0{position}\0{content}"),
        document=clipped(document.uri, NAME_BYTES),
        title=clipped(document.title, NAME_BYTES),
        heading=clipped(breadcrumb(document.title, section), NAME_BYTES),
        text=text,
        content=content,
        position=position,
        page=section.page,
        digest=_sha256(content),
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
