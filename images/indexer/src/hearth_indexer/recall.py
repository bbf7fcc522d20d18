"""Measures how much of the exact answer the index finds: recall@k, as in ann-benchmarks (Aumüller et al., 2020)."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hearth_indexer.engine import Engine, engine_errors
from hearth_indexer.schema import METRICS
from hearth_indexer.settings import Embedding

Matrix = NDArray[np.float32]

BLEND = 0.3
"""A probe lies this far on the way from one stored vector to another: near the data, but no row's own vector."""

SEARCH_BATCH = 20
TIE = 1e-5
"""Scores closer than this are equal: the engine and numpy add floats in different orders."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Recall of one vector field. `search` is the cheapest setting that reached the target, else the best one."""

    k: int
    queries: int
    recall: float
    search: dict[str, int]


def probes(stored: Matrix, count: int, seed: int) -> Matrix:
    """`count` query vectors, each between two stored ones. The same seed gives the same probes."""
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, len(stored), size=(2, count))
    return np.asarray((1 - BLEND) * stored[first] + BLEND * stored[second], dtype=np.float32)


def scores(queries: Matrix, stored: Matrix, metric: str) -> Matrix:
    """Exact scores, one row per query; larger is nearer for every metric."""
    if metric == "Euclidean":
        distance = (queries**2).sum(1)[:, None] - 2 * queries @ stored.T + (stored**2).sum(1)[None, :]
        return np.asarray(-distance, dtype=np.float32)
    if metric == "Cosine":
        queries, stored = _unit(queries), _unit(stored)
    return np.asarray(queries @ stored.T, dtype=np.float32)


def _unit(rows: Matrix) -> Matrix:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, np.float32(1e-12)), dtype=np.float32)


class ExactSearch:
    """The exact nearest rows, found while the rows stream by; holds k rows a query, whatever the collection's size."""

    def __init__(self, queries: Matrix, k: int, metric: str, watched: Sequence[set[str]]) -> None:
        self._queries, self._k, self._metric, self._watched = queries, k, metric, watched
        self._best: list[list[float]] = [[] for _ in watched]
        self._score: list[dict[str, float]] = [{} for _ in watched]

    def see(self, ids: Sequence[str], stored: Matrix) -> None:
        """Takes in a page of rows."""
        page = scores(self._queries, stored, self._metric)
        for at, watched in enumerate(self._watched):
            nearest = np.partition(page[at], max(0, len(ids) - self._k))[-self._k :]
            self._best[at] = sorted([*self._best[at], *nearest.tolist()], reverse=True)[: self._k]
            self._score[at].update({i: float(page[at, row]) for row, i in enumerate(ids) if i in watched})

    def recall(self, found: Sequence[Sequence[str]]) -> float:
        """The part of the exact answers among `found`; a row as near as the k-th counts, whichever twin it is."""
        hits = total = 0
        for at, ids in enumerate(found):
            threshold = self._best[at][-1] - TIE
            total += len(self._best[at])
            hits += min(len(self._best[at]), sum(self._score[at].get(i, -np.inf) >= threshold for i in set(ids)))
        return hits / total if total else 1.0


def measure(
    engine: Engine,
    collection: str,
    embedding: Embedding,
    ids: Sequence[str],
    ladder: Sequence[dict[str, int]],
    *,
    k: int,
    queries: int,
    target: float,
) -> Measured:
    """Recall of the loaded index against exact search over every stored vector.

    Each setting of `ladder` is searched; one pass over the collection then judges them all.
    """
    sample = random.Random(collection).sample(list(ids), min(len(ids), 2 * queries))  # noqa: S311 - a fixed sample
    rows = engine.where_in(collection, "id", sample, ["id", embedding.field])
    stored = np.array([row[embedding.field] for row in rows], dtype=np.float32)
    asked = probes(stored, queries, seed=len(ids))
    found = [search(engine, collection, embedding, asked, k, setting) for setting in ladder]
    watched = [set().union(*(answers[at] for answers in found)) for at in range(queries)]
    exact = ExactSearch(asked, k, embedding.metric, watched)
    for page in engine.pages(collection, ["id", embedding.field]):
        exact.see([str(r["id"]) for r in page], np.array([r[embedding.field] for r in page], dtype=np.float32))
    judged = [(exact.recall(answers), setting) for answers, setting in zip(found, ladder, strict=True)]
    recall, chosen = cheapest(judged, target)
    return Measured(k, queries, recall, chosen)


def cheapest(judged: Iterable[tuple[float, dict[str, int]]], target: float) -> tuple[float, dict[str, int]]:
    """The first setting that reaches the target; where none does, the first of the best."""
    ordered = list(judged)
    return next((j for j in ordered if j[0] >= target), max(ordered, key=lambda j: j[0]))


def search(
    engine: Engine, collection: str, embedding: Embedding, queries: Matrix, k: int, setting: dict[str, int]
) -> list[list[str]]:
    """The ids that the index finds for each query.

    Nothing is written any more and every row has been counted, so that no search has to wait for the engine's clock.
    """
    found: list[list[str]] = []
    params = {"metric_type": METRICS[embedding.metric], "params": setting}
    with engine_errors(f"searching {collection}"):
        for start in range(0, len(queries), SEARCH_BATCH):
            batch = queries[start : start + SEARCH_BATCH].tolist()
            answers = engine.client.search(
                collection, data=batch, anns_field=embedding.field, limit=k, search_params=params, output_fields=["id"],
                consistency_level="Eventually",
            )  # fmt: skip
            found += [[str(hit["id"]) for hit in hits] for hits in answers]
    return found
