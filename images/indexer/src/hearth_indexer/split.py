"""Cuts text into pieces no longer than a budget, at the widest boundary that works, and joins them to windows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

BOUNDARIES = (
    re.compile(r"(?<=\n)\n+"),
    re.compile(r"(?<=\n)"),
    re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])"),
    re.compile(r"(?<=[,;:，；：])\s+"),
    re.compile(r"\s+"),
)
"""Paragraphs, lines, sentences, clauses, words."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, with the whitespace that follows it, and its length in tokens."""

    text: str
    tokens: int


def pieces(text: str, budget: int, count: Callable[[str], int], level: int = 0) -> Iterator[Piece]:
    """The text cut into pieces of at most `budget` tokens; joined, they are the text again.

    A single word longer than the budget is cut between characters.
    """
    tokens = count(text.strip())
    if tokens <= budget:
        yield Piece(text, tokens)
        return
    if level == len(BOUNDARIES):
        yield from _cut_word(text, budget, tokens, count)
        return
    parts = _parts(text, BOUNDARIES[level])
    for part in parts:
        yield from pieces(part, budget, count, level + 1)


def _parts(text: str, boundary: re.Pattern[str]) -> list[str]:
    """The text cut after every boundary, each part with its boundary's own whitespace."""
    ends = [found.end() for found in boundary.finditer(text) if 0 < found.end() < len(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def _cut_word(text: str, budget: int, tokens: int, count: Callable[[str], int]) -> Iterator[Piece]:
    """Cuts evenly by characters, as if tokens were spread evenly, and cuts again where they are denser.

    Two parts may take a token or two more than both together, hence the margin of an eighth.
    """
    width = max(1, len(text) * budget * 7 // (tokens * 8))
    for start in range(0, len(text), width):
        part = text[start : start + width]
        held = count(part.strip())
        if held <= budget or len(part) == 1:
            yield Piece(part, held)
        else:
            yield from _cut_word(part, budget, held, count)


def windows(parts: Sequence[Piece], size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Ranges `[start, end)` of pieces whose tokens fit in `size`; each begins with at most `overlap` of the last one.

    Every piece is in a window, and no window lies wholly inside the one before it.
    """
    start, at, held = 0, 0, 0
    while at < len(parts):
        if at > start and held + parts[at].tokens > size:
            yield start, at
            start, held = _repeated(parts, at, min(overlap, size - parts[at].tokens))
        held += parts[at].tokens
        at += 1
    if at > start:
        yield start, at


def _repeated(parts: Sequence[Piece], end: int, overlap: int) -> tuple[int, int]:
    """Where the next window begins so that it repeats at most `overlap` tokens, and how many it repeats."""
    start, held = end, 0
    while start > 0 and held + parts[start - 1].tokens <= overlap:
        start -= 1
        held += parts[start].tokens
    return start, held
