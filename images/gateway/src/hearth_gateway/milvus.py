"""Retrieval from Milvus: dense search, or dense and keyword search fused.

Imported only by a gateway that has an index: pymilvus brings pandas, which costs seconds and a hundred megabytes.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from pymilvus import MilvusClient, MilvusException

from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError, unavailable
from hearth_gateway.passages import Passage
from hearth_gateway.retrieval import Found, fuse, similarity

FIELDS = ["id", "document", "title", "heading", "text"]
METRICS = {"Cosine": "COSINE", "InnerProduct": "IP", "Euclidean": "L2"}
SPARSE_FIELD = "sparse"
SEARCH_TIMEOUT = 10.0


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
        """The best passages: by meaning, or by meaning and by words. Raises ApiError (503)."""
        vector = await self._embed(question)
        searches = [asyncio.to_thread(self._search, self._config.embedding.field, vector, self._dense_parameters())]
        if self._config.retrieval == "Hybrid":
            searches.append(asyncio.to_thread(self._search, SPARSE_FIELD, question, {"metric_type": "BM25"}))
        try:
            dense, *words = await asyncio.gather(*searches)
        except MilvusException as error:
            raise unavailable(f"index {self._config.index} does not answer: {error.message}") from error
        metric = self._config.embedding.metric
        near = [_passage(hit, similarity(metric, float(hit["distance"]))) for hit in dense]
        best = max((p.similarity for p in near if p.similarity is not None), default=None)
        if not words:
            return Found(near[: self._config.top_k], best)
        fused = fuse([near, [_passage(hit, None) for hit in words[0]]], self._config.fusion_k)
        return Found(fused[: self._config.top_k], best)

    def _dense_parameters(self) -> dict[str, Any]:
        return {"metric_type": METRICS[self._config.embedding.metric]}

    async def _embed(self, question: str) -> list[float]:
        asked = self._config.embedding
        body = {"model": asked.model, "input": asked.query_prefix + question, "encoding_format": "float"}
        try:
            response = await self._embedder.post(f"{asked.url.rstrip('/')}/embeddings", json=body)
            if response.status_code == httpx.codes.NOT_FOUND:
                raise self._other_model()
            response.raise_for_status()
            vector: list[float] = response.json()["data"][0]["embedding"]
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            raise unavailable(f"the embedder {asked.model} does not answer: {error}") from error
        return vector

    def _other_model(self) -> ApiError:
        """The embedder has moved on to another model, whose vectors cannot be compared with those of the index."""
        return unavailable(
            f"index {self._config.index} was made with {self._config.embedding.model}, which its embedder serves no "
            "longer; questions are answered from it again once it is built anew"
        )

    def _search(self, field: str, query: list[float] | str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        """One search, in a thread. An engine that has forgotten to load the collection is told to, once."""
        try:
            return self._search_once(field, query, parameters)
        except MilvusException as error:
            if "load" not in str(error.message).lower():
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
            self._milvus = MilvusClient(uri=self._config.milvus.uri, timeout=SEARCH_TIMEOUT)
        return self._milvus


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
