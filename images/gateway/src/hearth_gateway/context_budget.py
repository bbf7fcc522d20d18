"""As many passages as fit the room that they have before a model, counted in the model's own tokens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from hearth_gateway.passages import Passage, numbered, within

Counter = Callable[[str], Awaitable[int | None]]
"""How many tokens a text has; None where nobody says."""

ROUNDS = 8
ASCII_PER_TOKEN = 3
"""Fewer than English text has (about four). Small vocabularies spend up to three tokens on a Korean letter."""


async def fitting(passages: Sequence[Passage], tokens: int, count: Counter) -> list[Passage]:
    """The first passages that fit. Each time that there are too many, they are cut as far as their tokens say.

    A token is at least one byte, so that what has no more bytes than tokens are allowed needs no counting.
    """
    kept = list(passages)
    for _ in range(ROUNDS):
        text = numbered(kept)
        if len(text.encode(errors="replace")) <= tokens:
            break
        found = await count(text)
        size = estimate(text) if found is None else found
        if size <= tokens:
            break
        kept = within(kept, len(text) * tokens // size)
    return kept


def estimate(text: str) -> int:
    """Tokens of a text where the engine does not count them."""
    plain = sum(character.isascii() for character in text)
    return -(-plain // ASCII_PER_TOKEN) + len(text) - plain
