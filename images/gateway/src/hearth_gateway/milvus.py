"""Retrieval from Milvus: dense search, or dense and keyword search fused.

Imported only by a gateway that has an index: pymilvus brings pandas, which costs seconds and a hundred megabytes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import httpx
from pymilvus import MilvusClient, MilvusException

from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError, bad_request, unavailable
from hearth_gateway.passages import Passage
from hearth_gateway.retrieval import Found, fuse, similarity

FIELDS = ["id", "document", "title", "heading", "text"]
METRICS = {"Cosine": "COSINE", "InnerProduct": "IP", "Euclidean": "L2"}
SPARSE_FIELD = "sparse"
SEARCH_TIMEOUT = 10.0

ENGINE_ERRORS = (MilvusException, grpc.RpcError)
"""What pymilvus raises. A search that takes longer than its time limit ends in gRPC's own error."""

AS_MUCH_AS_THE_MODEL_READS = -1
"""vLLM's `truncate_prompt_tokens`: what follows is cut off instead of refused. Other servers ignore the field."""

REFUSES_THE_QUESTION = frozenset({400, 413, 422})


class MilvusRetriever:
    """One index, and the embedder that its vectors came from."""

    def __init__(self, config: RagConfig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._milvus: MilvusClient | None = None
        self._embedder = httpx.AsyncClient(
            timeout=httpx.Timeout(30.0, connect=2.0),
            limits=httpx.Limits(max_keepalive_connections=0),
            transport=transport or httpx.AsyncHTTPTransport(retries=3),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._embedder.aclose()
        if self._milvus is not None:
            await asyncio.to_thread(self._milvus.close)

    async def find(self, question: str) -> Found:
        """The best passages: by meaning, or by meaning and by words. Raises ApiError (400, 503)."""
        vector = await self._embed(question)
        searches = [asyncio.to_thread(self._search, self._config.embedding.field, vector, self._dense_parameters())]
        if self._config.retrieval == "Hybrid":
            searches.append(asyncio.to_thread(self._search, SPARSE_FIELD, question, {"metric_type": "BM25"}))
        try:
            dense, *words = await asyncio.gather(*searches)
        except ENGINE_ERRORS as error:
            raise unavailable(f"index {self._config.index} does not answer: {_told_by(error)}") from error
        metric = self._config.embedding.metric
        near = [_passage(hit, similarity(metric, float(hit["distance"]))) for hit in dense]
        best = max((p.similarity for p in near if p.similarity is not None), default=None)
        if not words:
            return Found(near[: self._config.top_k], best)
        fused = fuse([near, [_passage(hit, None) for hit in words[0]]], self._config.fusion_k)
        return Found(fused[: self._config.top_k], best)

    def _dense_parameters(self) -> dict[str, Any]:
        """The measured ones. A graph is searched no narrower than passages are wanted: Milvus refuses that."""
        found: dict[str, Any] = {"metric_type": METRICS[self._config.embedding.metric]}
        if self._config.search:
            least = {"ef": self._config.candidates}
            found["params"] = {name: max(value, least.get(name, 0)) for name, value in self._config.search.items()}
        return found

    async def _embed(self, question: str) -> list[float]:
        """The vector of the question; of a question longer than the embedder reads, that of its beginning."""
        asked = self._config.embedding
        body = {
            "model": asked.model,
            "input": asked.query_prefix + question,
            "encoding_format": "float",
            "truncate_prompt_tokens": AS_MUCH_AS_THE_MODEL_READS,
        }
        try:
            headers = {"authorization": f"Bearer {key}"} if (key := _secret(asked.api_key_file)) else {}
            response = await self._embedder.post(f"{asked.url.rstrip('/')}/embeddings", json=body, headers=headers)
            if response.is_error:
                raise self._refusal(response)
            vector: list[float] = response.json()["data"][0]["embedding"]
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise unavailable(f"the embedder {asked.model} does not answer: {error}") from error
        return vector

    def _refusal(self, response: httpx.Response) -> ApiError:
        """A question that the embedder cannot read is refused: asking again would be in vain."""
        model, said = self._config.embedding.model, f"{response.status_code}: {response.text[:300]}"
        if response.status_code == httpx.codes.NOT_FOUND:
            # It has moved on to another model, whose vectors cannot be compared with those of the index.
            return unavailable(
                f"index {self._config.index} was made with {model}, which its embedder serves no longer; questions are "
                "answered from it again once it is built anew"
            )
        if response.status_code in REFUSES_THE_QUESTION:
            return bad_request(f"the embedder {model} cannot read this question: HTTP {said}", param="messages")
        return unavailable(f"the embedder {model} does not answer: HTTP {said}")

    def _search(self, field: str, query: list[float] | str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """One search, in a thread. An engine that has forgotten to load the collection is told to, once."""
        try:
            return self._search_once(field, query, parameters)
        except ENGINE_ERRORS as error:
            if "load" not in _told_by(error).lower():
                self._milvus = None  # the next question opens a new connection
                raise
            client = self._client()
            client.load_collection(self._config.milvus.collection, timeout=60)
            return self._search_once(field, query, parameters)

    def _search_once(self, field: str, query: list[float] | str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        answers = self._client().search(
            self._config.milvus.collection,
            data=[query],
            anns_field=field,
            limit=self._config.candidates,
            search_params=parameters,
            output_fields=FIELDS,
            timeout=SEARCH_TIMEOUT,
        )
        return [dict(hit) for hit in answers[0]]

    def _client(self) -> MilvusClient:
        if self._milvus is None:
            asked = self._config.milvus
            self._milvus = MilvusClient(uri=asked.uri, token=_secret(asked.token_file), timeout=SEARCH_TIMEOUT)
        return self._milvus


def _secret(path: str | None) -> str:
    """What a mounted Secret holds now; empty where there is none, and then the other side says what it misses."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeError):
        return ""


def _told_by(error: Exception) -> str:
    return str(error.message if isinstance(error, MilvusException) else error)


def _passage(hit: dict[str, Any], near: float | None) -> Passage:
    entity = hit["entity"]
    return Passage(
        id=str(entity.get("id", hit.get("id"))),
        document=str(entity.get("document", "")),
        title=str(entity.get("title", "")),
        heading=str(entity.get("heading", "")),
        text=str(entity.get("text", "")),
        score=float(hit["distance"]) if near is None else near,
        similarity=near,
    )
