"""Recall is judged against exact search, page by page."""

from __future__ import annotations

import numpy as np
import pytest
from hearth_indexer.ledger import Build, retired
from hearth_indexer.recall import ExactSearch, cheapest, probes, scores
from hearth_indexer.schema import search_ladder


def exact_ids(queries: np.ndarray, stored: np.ndarray, k: int, metric: str) -> list[list[str]]:
    """The straightforward way, for comparison."""
    order = np.argsort(-scores(queries, stored, metric), axis=1)[:, :k]
    return [[str(i) for i in row] for row in order]


def judged(found: list[list[str]], queries: np.ndarray, stored: np.ndarray, k: int, metric: str) -> float:
    """Recall as the indexer computes it, the collection streaming by in pages of 7."""
    search = ExactSearch(queries, k, metric, [set(ids) for ids in found])
    for start in range(0, len(stored), 7):
        page = stored[start : start + 7]
        search.see([str(start + i) for i in range(len(page))], page)
    return search.recall(found)


@pytest.mark.parametrize("metric", ["Cosine", "InnerProduct", "Euclidean"])
def test_an_exact_answer_has_recall_one_and_a_half_wrong_one_half(metric: str) -> None:
    stored = np.random.default_rng(7).normal(size=(50, 8)).astype(np.float32)
    queries = probes(stored, 6, seed=1)
    exact = exact_ids(queries, stored, 4, metric)
    worst = exact_ids(queries, stored, 50, metric)

    assert judged(exact, queries, stored, 4, metric) == 1.0
    assert judged([e[:2] + w[-2:] for e, w in zip(exact, worst, strict=True)], queries, stored, 4, metric) == 0.5
    assert judged([[] for _ in exact], queries, stored, 4, metric) == 0.0


def test_a_twin_of_an_exact_answer_counts() -> None:
    stored = np.ones((6, 4), dtype=np.float32)

    assert judged([["4", "5"]], stored[:1], stored, 2, "Cosine") == 1.0


def test_the_same_row_twice_counts_once() -> None:
    stored = np.eye(4, dtype=np.float32)

    assert judged([["0", "0"]], stored[:1], stored, 2, "InnerProduct") == 0.5


def test_fewer_rows_than_k_are_enough() -> None:
    stored = np.eye(3, dtype=np.float32)

    assert judged([["0", "1", "2"]], stored[:1], stored, 10, "Cosine") == 1.0


def test_the_cheapest_setting_that_reaches_the_target_is_chosen() -> None:
    ladder = [(0.8, {"ef": 64}), (0.96, {"ef": 128}), (0.99, {"ef": 256})]

    assert cheapest(ladder, 0.95) == (0.96, {"ef": 128})
    assert cheapest(ladder, 1.0) == (0.99, {"ef": 256})


def test_search_settings_respect_the_engines_limits() -> None:
    assert search_ladder("HNSW", 100, 0) == [{"ef": 128}, {"ef": 256}, {"ef": 512}]
    assert search_ladder("HNSW", 1000, 0) == [{"ef": 1000}]
    assert search_ladder("IVF_FLAT", 10, 20) == [{"nprobe": 8}, {"nprobe": 16}, {"nprobe": 20}]
    assert search_ladder("FLAT", 10, 0) == [{}]


def build(name: str, created: int, complete: bool = True) -> Build:
    """A generation of one index."""
    return Build(name, "a", "uid", created, 1, {}, {}, complete)


def test_incomplete_generations_go_first_and_the_newest_complete_ones_stay() -> None:
    known = [build("now", 9), build("b", 5), build("c", 7), build("half", 8, complete=False), build("d", 6)]

    assert [b.collection for b in retired(known, "now", 1)] == ["half", "d", "b"]
    assert [b.collection for b in retired(known, "now", 0)] == ["half", "c", "d", "b"]
