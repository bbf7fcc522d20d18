"""How a question becomes a search: what the embedder and the engine are asked, and what is said when they refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hearth_gateway import milvus
from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError
from hearth_gateway.milvus import MilvusRetriever
from pymilvus import MilvusException

RAG: dict[str, Any] = {
    "index": "handbook",
    "milvus": {"uri": "http://nowhere:19530", "collection": "handbook"},
    "embedding": {"url": "http://nowhere/v1", "model": "minilm", "field": "dense_text"},
    "topK": 1,
}
HIT = {"distance": 0.9, "entity": {"id": "1", "document": "leave.md", "title": "Leave", "heading": "", "text": "27"}}


class FakeMilvus:
    """Finds one passage; a fault is raised instead."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.searched: list[dict[str, Any]] = []

    def search(self, collection: str, **asked: Any) -> list[list[dict[str, Any]]]:
        self.searched.append({"collection": collection, **asked})
        if self.fault is not None:
            raise self.fault
        return [[HIT]]

    def close(self) -> None:
        """Nothing is open."""


class TimedOutError(grpc.RpcError):
    """As grpcio raises it past a call's time limit: pymilvus lets it through."""

    def __str__(self) -> str:
        return "Deadline Exceeded"


Answer = Callable[[httpx.Request], httpx.Response]


def embedding(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"data": [{"embedding": [0.0, 1.0]}]})


def retriever(answer: Answer = embedding, engine: FakeMilvus | None = None, **changes: Any) -> MilvusRetriever:
    made = MilvusRetriever(RagConfig.model_validate(RAG | changes), httpx.MockTransport(answer))
    made._milvus = engine or FakeMilvus()
    return made


async def test_a_question_longer_than_the_embedder_reads_is_cut_by_the_embedder() -> None:
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return embedding(request)

    found = await retriever(answer).find("Why? " * 4000)

    assert [p.document for p in found.passages] == ["leave.md"]
    assert bodies[0]["truncate_prompt_tokens"] == -1
    assert bodies[0]["input"] == "Why? " * 4000


@pytest.mark.parametrize(
    ("answered", "status", "said"),
    [
        (400, 400, "cannot read this question: HTTP 400: too long"),
        (422, 400, "cannot read this question"),
        (401, 503, "the embedder minilm does not answer: HTTP 401"),
        (404, 503, "made with minilm, which its embedder serves no longer"),
        (500, 503, "the embedder minilm does not answer: HTTP 500"),
    ],
)
async def test_what_the_embedder_refuses_is_not_worth_another_try_and_what_it_lacks_is(
    answered: int, status: int, said: str
) -> None:
    asked = retriever(lambda _: httpx.Response(answered, text="too long"))

    with pytest.raises(ApiError, match=said) as refused:
        await asked.find("Q?")
    assert refused.value.status == status
    assert (refused.value.retry_after is None) == (status == 400)


@pytest.mark.parametrize("body", [{"data": []}, {"data": None}, {"error": "?"}, []])
async def test_an_answer_without_a_vector_is_told(body: Any) -> None:
    with pytest.raises(ApiError, match="the embedder minilm does not answer") as refused:
        await retriever(lambda _: httpx.Response(200, json=body)).find("Q?")
    assert refused.value.status == 503


@pytest.mark.parametrize("fault", [MilvusException(message="busy"), TimedOutError()])
async def test_an_engine_that_does_not_answer_in_time_is_told(fault: Exception) -> None:
    asked = retriever(engine=FakeMilvus(fault))

    with pytest.raises(ApiError, match="index handbook does not answer") as refused:
        await asked.find("Q?")
    assert refused.value.status == 503
    assert asked._milvus is None, "the next question opens a new connection"


async def test_the_embedder_gets_its_key_as_the_secret_holds_it_now(tmp_path: Path) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("authorization"))
        return embedding(request)

    key = tmp_path / "token"
    asked = retriever(answer, embedding=RAG["embedding"] | {"apiKeyFile": str(key)})
    await asked.find("Q?")
    for value in ("first\n", "second\n"):
        key.write_text(value)
        await asked.find("Q?")

    assert seen == [None, "Bearer first", "Bearer second"]


async def test_milvus_gets_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def connect(**asked: Any) -> FakeMilvus:
        opened.append(asked)
        return FakeMilvus()

    monkeypatch.setattr(milvus, "MilvusClient", connect)
    (tmp_path / "token").write_text("root:Milvus\n")
    asked = retriever(milvus=RAG["milvus"] | {"tokenFile": str(tmp_path / "token")})
    asked._milvus = None
    await asked.find("Q?")

    assert [o["token"] for o in opened] == ["root:Milvus"]


@pytest.mark.parametrize(
    ("search", "candidates", "params"),
    [
        ({}, 40, None),
        ({"ef": 256}, 40, {"ef": 256}),
        ({"ef": 64}, 200, {"ef": 200}),
        ({"nprobe": 16}, 200, {"nprobe": 16}),
    ],
)
async def test_the_index_is_searched_as_its_recall_was_measured(
    search: dict[str, int], candidates: int, params: dict[str, int] | None
) -> None:
    engine = FakeMilvus()
    await retriever(engine=engine, search=search, candidates=candidates).find("Q?")

    (asked,) = engine.searched
    assert asked["search_params"] == {"metric_type": "COSINE"} | ({"params": params} if params else {})
    assert asked["limit"] == candidates
