"""A busy engine is not taken for one that cannot: only a refusal that means it, or one that lasts, counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest
from hearth_indexer.capability import PATIENCE, capabilities
from hearth_indexer.outcome import UnavailableError
from pymilvus import MilvusClient, MilvusException

ALL = ["Dense", "BM25", "Hybrid", "MultiVector"]


class TimedOutError(grpc.RpcError):
    """As grpcio raises it past a call's time limit: pymilvus lets it through."""

    def __str__(self) -> str:
        return "Deadline Exceeded"


class FakeMilvus:
    """Raises what is queued for a method, one error a call; the last one again and again where it is marked so."""

    create_schema = staticmethod(MilvusClient.create_schema)
    prepare_index_params = staticmethod(MilvusClient.prepare_index_params)

    def __init__(self, faults: dict[str, list[Exception]], lasting: bool = False) -> None:
        self.faults, self.lasting = faults, lasting

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> None:
            queued = self.faults.get(name, [])
            if queued:
                raise queued[0] if self.lasting else queued.pop(0)

        return call


BUSY = MilvusException(message="collection is being loaded, try again later")
CANNOT = MilvusException(message="create index on 104 field is not supported")


def probed(milvus: FakeMilvus) -> tuple[list[str], float]:
    """What is found out, and the seconds that were waited for it."""
    pauses: list[float] = []
    return capabilities(milvus, "handbook_probe", pauses.append), sum(pauses)


def test_an_engine_that_does_everything_is_asked_once() -> None:
    assert probed(FakeMilvus({})) == (ALL, 0)


@pytest.mark.parametrize("method", ["create_collection", "create_index", "load_collection", "hybrid_search"])
def test_a_passing_error_takes_nothing_away(method: str) -> None:
    found, waited = probed(FakeMilvus({method: [BUSY, BUSY]}))

    assert found == ALL
    assert 0 < waited <= 10


def test_an_engine_that_says_it_cannot_is_believed_at_once() -> None:
    assert probed(FakeMilvus({"create_index": [CANNOT]})) == (["Dense", "MultiVector"], 0)


def test_a_refusal_in_other_words_counts_once_it_has_lasted() -> None:
    found, waited = probed(FakeMilvus({"hybrid_search": [BUSY]}, lasting=True))

    assert found == ["Dense", "BM25", "MultiVector"]
    assert waited == PATIENCE


@pytest.mark.parametrize("method", ["create_collection", "load_collection", "hybrid_search"])
def test_a_time_limit_is_no_answer(method: str) -> None:
    with pytest.raises(UnavailableError, match="does not answer: Deadline Exceeded"):
        probed(FakeMilvus({method: [TimedOutError()]}))


def test_an_engine_that_stops_answering_is_no_engine_that_cannot() -> None:
    gone = MilvusException(message="server unavailable")

    with pytest.raises(UnavailableError, match="server unavailable"):
        probed(FakeMilvus({"load_collection": [BUSY], "get_server_version": [gone]}))
