"""Retrieval from Milvus: dense search, or dense and keyword search fused.

Imported only by a gateway that has an index: pymilvus brings pandas, which costs seconds and a hundred megabytes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
from pymilvus import MilvusClient

from hearth_gateway.config import RagConfig
from hearth_gateway.engine_errors import CALL_TIMEOUT, ENGINE_ERRORS, once_loaded, told_by
from hearth_gateway.errors import ApiError, bad_request, unavailable
from hearth_gateway.generation import SPARSE_FIELD, Generation, Serving, misfit
from hearth_gateway.passages import Passage
from hearth_gateway.retrieval import Found, fuse, similarity
from hearth_gateway.upstream import LOST

FIELDS = ["id", "document", "title", "heading", "text"]

AS_MUCH_AS_THE_MODEL_READS = -1
"""vLLM's `truncate_prompt_tokens`: what follows is cut off instead of refused. Other servers ignore the field."""

REFUSES_THE_QUESTION = frozenset({400, 413, 422})


class MilvusRetriever:
    """One index, and the embedder that its vectors came from."""

    def __init__(self, config: RagConfig, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._config = config
        self._serving = Serving(config)
        self._milvus: MilvusClient | None = None
        # A kept connection would pin the gateway to a pod that is on its way out: see upstream.py.
        fresh = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._embedder = httpx.AsyncClient(
            timeout=httpx.Timeout(30.0, connect=2.0),
            transport=transport or httpx.AsyncHTTPTransport(retries=3, limits=fresh),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._embedder.aclose()
        if self._milvus is not None:
            await asyncio.to_thread(self._milvus.close)

    async def find(self, question: str) -> Found:
        """The best passages: by meaning, or by meaning and by words. Raises ApiError (400, 503)."""
        serving = await self._generation()
        vector = await self._embed(question)
        try:
            return await self._found(serving, vector, question)
        except ENGINE_ERRORS as error:
            after = await self._generation()
            if after == serving:
                self._milvus = None  # the next question opens a new connection
                raise self._silent(error) from error
        # The index was switched to another build in this moment, and the one before is out of memory or gone.
        try:
            return await self._found(after, vector, question)
        except ENGINE_ERRORS as error:
            raise self._silent(error) from error

    async def _generation(self) -> Generation:
        """The generation that serves now. Raises ApiError (503) where the question cannot be compared with it."""
        try:
            serving = await asyncio.to_thread(lambda: self._serving.now(self._client()))
        except ENGINE_ERRORS as error:
            self._milvus = None
            raise self._silent(error) from error
        refused = misfit(self._config, serving)
        if refused is not None:
            raise refused
        return serving

    async def _found(self, serving: Generation, vector: list[float], question: str) -> Found:
        field, parameters = self._config.embedding.field, self._dense_parameters(serving)
        searches = [asyncio.to_thread(self._search, serving, field, vector, parameters)]
        if self._config.retrieval == "Hybrid" and serving.words:
            searches.append(asyncio.to_thread(self._search, serving, SPARSE_FIELD, question, {"metric_type": "BM25"}))
        dense, *words = await asyncio.gather(*searches)
        near = [_passage(hit, similarity(serving.metric, float(hit["distance"]))) for hit in dense]
        best = max((p.similarity for p in near if p.similarity is not None), default=None)
        if not words:
            return Found(near[: self._config.top_k], best, "Dense")
        fused = fuse([near, [_passage(hit, None) for hit in words[0]]], self._config.fusion_k)
        return Found(fused[: self._config.top_k], best, "Hybrid")

    def _dense_parameters(self, serving: Generation) -> dict[str, Any]:
        """The measured ones. A graph is searched no narrower than passages are wanted: Milvus refuses that."""
        found: dict[str, Any] = {"metric_type": serving.metric}
        if serving.search:
            least = {"ef": self._config.candidates}
            found["params"] = {name: max(value, least.get(name, 0)) for name, value in serving.search.items()}
        return found

    def _silent(self, error: Exception) -> ApiError:
        return unavailable(f"index {self._config.index} does not answer: {told_by(error)}")

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
            response = await self._answered(f"{asked.url.rstrip('/')}/embeddings", body)
            if response.is_error:
                raise self._refusal(response)
            vector: list[float] = response.json()["data"][0]["embedding"]
        except httpx.LocalProtocolError as error:
            # This side refuses to send the request, and says so by quoting it: its headers may hold a secret.
            raise unavailable(f"the embedder {asked.model} cannot be asked: {type(error).__name__}") from None
        except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
            raise unavailable(f"the embedder {asked.model} does not answer: {error}") from error
        return vector

    async def _answered(self, url: str, body: dict[str, Any]) -> httpx.Response:
        """The embedder's answer; it is asked once more where it is lost at work, as a pod is that ends."""
        headers = self._bearer()
        try:
            return await self._embedder.post(url, json=body, headers=headers)
        except LOST:
            return await self._embedder.post(url, json=body, headers=headers)

    def _bearer(self) -> dict[str, str]:
        """The Authorization header. Raises ApiError (503), which any client may read, where no header can carry it."""
        asked = self._config.embedding
        key = _secret(asked.api_key_file)
        if not (key.isascii() and key.isprintable()):
            raise unavailable(
                f"the API key for the embedder {asked.model} is not one line of printable ASCII: put one key, and "
                f"nothing else, under the key token of the Secret that index {self._config.index} names for it"
            )
        return {"authorization": f"Bearer {key}"} if key else {}

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

    def _search(
        self, serving: Generation, field: str, query: list[float] | str, parameters: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """One search, in a thread."""
        client = self._client()
        answers = once_loaded(
            client,
            serving.collection,
            lambda: client.search(
                serving.collection,
                data=[query],
                anns_field=field,
                limit=self._config.candidates,
                search_params=parameters,
                output_fields=FIELDS,
                timeout=CALL_TIMEOUT,
            ),
            wanted=lambda: self._serving.collection(client) == serving.collection,
        )
        return [dict(hit) for hit in answers[0]]

    def _client(self) -> MilvusClient:
        if self._milvus is None:
            asked = self._config.milvus
            self._milvus = MilvusClient(uri=asked.uri, token=_secret(asked.token_file), timeout=CALL_TIMEOUT)
        return self._milvus


def _secret(path: str | None) -> str:
    """What a mounted Secret holds now; empty where there is none, and then the other side says what it misses."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except (OSError, UnicodeError):
        return ""


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
