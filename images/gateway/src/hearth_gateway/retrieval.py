"""Passages found for a question, and how two rankings become one (Cormack, Clarke and Buettcher 2009)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from hearth_gateway.passages import Passage


@dataclass(frozen=True, slots=True)
class Found:
    """Passages in order, and the similarity of the nearest one to the question; None where nothing was found."""

    passages: list[Passage]
    best_similarity: float | None
    mode: Literal["Dense", "Hybrid"]
    """How they were found."""


class Retriever(Protocol):
    """Finds passages for a question. Raises ApiError (503) where a part does not answer."""

    async def find(self, question: str) -> Found:
        """The passages, best first."""
        ...

    async def close(self) -> None:
        """Closes what is open."""
        ...


def fuse(rankings: Sequence[Sequence[Passage]], k: int) -> list[Passage]:
    """Reciprocal rank fusion: a passage scores the sum of 1 / (k + rank) over the rankings that hold it."""
    scores: dict[str, float] = {}
    seen: dict[str, Passage] = {}
    for ranking in rankings:
        for rank, passage in enumerate(ranking, start=1):
            scores[passage.id] = scores.get(passage.id, 0.0) + 1.0 / (k + rank)
            known = seen.get(passage.id)
            seen[passage.id] = passage if known is None or known.similarity is None else known
    ordered = sorted(seen.values(), key=lambda p: (-scores[p.id], p.id))
    return [replace(p, score=scores[p.id]) for p in ordered]


def similarity(metric: str, distance: float) -> float:
    """The cosine that a distance stands for. Milvus's L2 is the square of the distance; embedders give unit vectors."""
    return 1.0 - distance / 2.0 if metric == "L2" else distance
