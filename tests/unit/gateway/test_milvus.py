"""How a question becomes a search: what the embedder and the engine are asked, and what is said when they refuse."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from hearth_gateway import milvus
from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError
from hearth_gateway.generation import Serving
from hearth_gateway.milvus import MilvusRetriever
from pymilvus import MilvusException

RAG: dict[str, Any] = {
    "index": "handbook",
    "milvus": {"uri": "http://nowhere:19530", "collection": "handbook", "owner": "team/handbook"},
    "embedding": {"url": "http://nowhere/v1", "model": "minilm", "field": "dense_text"},
    "topK": 1,
}
HIT = {"distance": 0.9, "entity": {"id": "1", "document": "leave.md", "title": "Leave", "heading": "", "text": "27"}}


class FakeMilvus:
    """An index of one generation, with one passage; a fault is raised by its searches."""

    def __init__(self, fault: Exception | None = None, **facts: Any) -> None:
        self.fault = fault
        self.searched: list[dict[str, Any]] = []
        self.ledger_reads = 0
        self.loaded: list[str] = []
        self.switch("handbook_1", **facts)

    def switch(self, collection: str, model: str = "minilm", metric: str = "COSINE", **more: Any) -> None:
        """The alias stands for this collection from now on."""
        self.serving, self.metric = collection, metric
        self.fields = ["id", "dense_text", *(["sparse"] if more.get("words") else [])]
        embedders = {"dense_text": f"{model}@sha256:1"}
        self.facts = {"owner": "team/handbook", "embedders": embedders, "measured": {"search": more.get("search", {})}}
        self.facts |= more.get("facts", {})

    def describe_alias(self, alias: str, timeout: float) -> dict[str, Any]:
        assert (alias, timeout) == ("handbook", 10)
        return {"alias": alias, "collection_name": self.serving}

    def describe_collection(self, collection: str, timeout: float) -> dict[str, Any]:
        assert (collection, timeout) == (self.serving, 10)
        return {"fields": [{"name": name} for name in self.fields]}

    def describe_index(self, collection: str, field: str, timeout: float) -> dict[str, Any]:
        assert (collection, field, timeout) == (self.serving, "dense_text", 10)
        return {"metric_type": self.metric}

    def query(self, ledger: str, **asked: Any) -> list[dict[str, Any]]:
        assert (ledger, asked["filter"]) == ("hearth_builds", f'collection == "{self.serving}"')
        self.ledger_reads += 1
        return [{"facts": json.dumps(self.facts)}]

    def search(self, collection: str, **asked: Any) -> list[list[dict[str, Any]]]:
        self.searched.append({"collection": collection, **asked})
        if self.fault is not None:
            raise self.fault
        return [[HIT]]

    def load_collection(self, collection: str, timeout: float) -> None:
        assert timeout == 60
        self.fault = None
        self.loaded.append(collection)

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
    assert bodies[0]["model"] == "minilm", "the pinned name: no other model answers to it"
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


@pytest.mark.parametrize("key", ["sk-first\nsk-second\n", "sk-first\rX-Other: x", "sk-\tfirst", "sk-first…"])
async def test_a_key_that_no_header_can_carry_is_told_and_never_quoted(tmp_path: Path, key: str) -> None:
    (tmp_path / "token").write_text(key)
    asked = retriever(embedding=RAG["embedding"] | {"apiKeyFile": str(tmp_path / "token")})

    with pytest.raises(ApiError, match="the API key for the embedder minilm is not one line") as refused:
        await asked.find("Q?")
    assert refused.value.status == 503
    assert "first" not in refused.value.message


async def test_a_request_that_cannot_be_sent_is_not_quoted() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError("Illegal header value b'Bearer sk-first\\n'")

    with pytest.raises(ApiError) as refused:
        await retriever(refuse).find("Q?")
    assert refused.value.message == "the embedder minilm cannot be asked: LocalProtocolError"


class Embedder:
    """On a real socket. It ends so many connections without an answer, and keeps the others open."""

    def __init__(self, losses: int = 0) -> None:
        self.losses, self.connections, self.asked = losses, 0, 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        payload = json.dumps({"data": [{"index": 0, "embedding": [0.0, 1.0]}]}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while asked := (await reader.readuntil(b"\r\n\r\n")).decode().lower():
                await reader.readexactly(int(asked.partition("content-length: ")[2].split("\r\n")[0]))
                self.asked += 1
                if self.asked <= self.losses:
                    break
                writer.write(head.encode() + payload)
        writer.close()

    @asynccontextmanager
    async def asking(self) -> AsyncIterator[MilvusRetriever]:
        """A retriever that asks it."""
        server = await asyncio.start_server(self.connected, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        made = MilvusRetriever(RagConfig.model_validate(RAG | {"embedding": RAG["embedding"] | {"url": url}}))
        made._milvus = FakeMilvus()
        yield made
        await made.close()
        server.close()


async def test_each_question_goes_to_a_pod_that_the_service_still_lists() -> None:
    embedder = Embedder()
    async with embedder.asking() as asked:
        for _ in range(3):
            await asked.find("Q?")
    assert embedder.connections == 3


async def test_a_question_whose_embedder_is_lost_at_work_is_asked_once_more() -> None:
    embedder = Embedder(losses=1)
    async with embedder.asking() as asked:
        assert (await asked.find("Q?")).passages
    assert embedder.asked == 2


async def test_a_question_whose_embedder_is_lost_twice_is_told() -> None:
    embedder = Embedder(losses=2)
    async with embedder.asking() as asked:
        with pytest.raises(ApiError, match="the embedder minilm does not answer: Server disconnected") as refused:
            await asked.find("Q?")
    assert (refused.value.status, embedder.asked) == (503, 2)


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
    engine = FakeMilvus(search=search)
    await retriever(engine=engine, candidates=candidates).find("Q?")

    (asked,) = engine.searched
    assert asked["search_params"] == {"metric_type": "COSINE"} | ({"params": params} if params else {})
    assert asked["limit"] == candidates


async def test_a_collection_that_the_engine_forgot_to_load_is_loaded() -> None:
    engine = FakeMilvus(MilvusException(message="Collection 'handbook_1' is in state 'released'; call load()"))
    found = await retriever(engine=engine).find("Q?")

    assert [p.document for p in found.passages] == ["leave.md"]
    assert engine.loaded == ["handbook_1"]


async def test_a_new_build_is_searched_as_it_was_made_before_the_gateway_is_told() -> None:
    engine = FakeMilvus(words=True, search={"ef": 64})
    asked = retriever(engine=engine, retrieval="Hybrid")
    assert (await asked.find("Q?")).mode == "Hybrid"
    engine.searched.clear()

    engine.switch("handbook_2", metric="L2", search={"nprobe": 16})
    found = await asked.find("Q?")
    (search,) = engine.searched
    assert search["collection"] == "handbook_2"
    assert search["search_params"] == {"metric_type": "L2", "params": {"nprobe": 16}}
    assert (found.mode, found.best_similarity) == ("Dense", 1 - 0.9 / 2)


@pytest.mark.parametrize(
    ("switched", "said"),
    [
        ({"model": "e5"}, "index handbook has the vectors of e5 by now, and this gateway asks minilm yet"),
        ({"facts": {"owner": "other/handbook"}}, "stands for handbook_2, made by other/handbook"),
        ({"facts": {"embedders": {}}}, "index handbook has the vectors of None by now"),
    ],
)
async def test_vectors_of_two_models_and_documents_of_two_indexes_are_never_mixed(
    switched: dict[str, Any], said: str
) -> None:
    engine = FakeMilvus()
    asked = retriever(engine=engine)
    await asked.find("Q?")
    engine.searched.clear()
    engine.switch("handbook_2", **switched)

    with pytest.raises(ApiError, match=said) as refused:
        await asked.find("Q?")
    assert refused.value.status == 503
    assert engine.searched == []


@pytest.mark.parametrize("owner", ["team/handbook@1", "team/handbook"])
async def test_an_index_that_shares_its_engine_answers_from_its_builds_and_those_of_an_earlier_version(
    owner: str,
) -> None:
    engine = FakeMilvus(facts={"owner": owner})
    asked = retriever(engine=engine, milvus=RAG["milvus"] | {"owner": "team/handbook@1"})
    assert (await asked.find("Q?")).passages


async def test_a_switch_in_the_middle_of_a_question_leads_it_to_the_new_build() -> None:
    engine = FakeMilvus()

    def answer(request: httpx.Request) -> httpx.Response:
        engine.switch("handbook_2")
        return embedding(request)

    search = engine.search

    def released(collection: str, **asked: Any) -> list[list[dict[str, Any]]]:
        if collection == "handbook_1":
            raise MilvusException(message="Collection 'handbook_1' is in state 'released'; call load()")
        return search(collection, **asked)

    engine.search = released  # type: ignore[method-assign]
    found = await retriever(answer, engine).find("Q?")

    assert [p.document for p in found.passages] == ["leave.md"]
    assert engine.loaded == [], "the old build stays out of memory"


async def test_what_a_collection_is_like_is_read_once_in_half_a_minute() -> None:
    clock = [0.0]
    engine = FakeMilvus()
    asked = retriever(engine=engine)
    asked._serving = Serving(asked._config, lambda: clock[0])
    for clock[0], reads in ((0.0, 1), (29.0, 1), (31.0, 2), (40.0, 2)):
        await asked.find("Q?")
        assert engine.ledger_reads == reads
    engine.switch("handbook_2")
    await asked.find("Q?")
    assert engine.ledger_reads == 3
