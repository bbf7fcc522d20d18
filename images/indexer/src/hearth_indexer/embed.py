"""Turns texts into vectors through an OpenAI-compatible `/v1/embeddings`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import httpx

from hearth_indexer.outcome import BadDataError, IndexingError, UnavailableError
from hearth_indexer.retry import answered
from hearth_indexer.settings import Embedding, bearer

BATCH = 64
"""Texts per request: enough to keep a batching engine busy, little enough to be repeated after a failure."""

Vector = list[float]


class Embedder:
    """One embedding endpoint. `requested` counts the texts it was asked for."""

    def __init__(self, client: httpx.Client, asked: Embedding) -> None:
        self._client = client
        self._asked = asked
        self._headers = bearer(asked.api_key_env)
        self._url = asked.url.removesuffix("/") + "/embeddings"
        self.requested = 0

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector per text, in order.

        Raises UnavailableError after ten minutes without an answer and where another model is served or the API key is
        refused, BadDataError where the endpoint refuses the texts or answers with something that is no vector.
        """
        vectors: list[Vector] = []
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            vectors += self._batch(batch)
            self.requested += len(batch)
        return vectors

    def _batch(self, texts: list[str]) -> list[Vector]:
        body = {"model": self._asked.model, "input": texts, "encoding_format": "float"}
        response = answered(lambda: self._client.post(self._url, json=body, headers=self._headers), self._url)
        if response.is_error:
            raise self._refusal(response)
        rows = sorted(response.json()["data"], key=lambda row: int(row["index"]))
        vectors: list[Vector] = [row["embedding"] for row in rows]
        if len(vectors) != len(texts) or len({len(v) for v in vectors}) != 1:
            raise BadDataError(f"{self._url} gave {len(vectors)} vectors of unequal number or length for {len(texts)}")
        if not all(math.isfinite(x) for v in vectors for x in v):
            raise BadDataError(f"{self._url} gave a vector with NaN or infinity", "check the embedding model's dtype")
        return vectors

    def _refusal(self, response: httpx.Response) -> IndexingError:
        said = response.text[:300]
        if response.status_code in (401, 403):
            # The Secret may be mended, and nothing tells the next run to begin but that this one is tried again.
            advice = "put an API key of the embedder into the Secret that the embedding's secretRef names"
            return UnavailableError(f"{self._url} answers {response.status_code}: {said}", advice)
        if response.status_code == 404:
            # The name holds the model's digest. A pod that is on its way out may still serve the one before.
            return UnavailableError(f"{self._url} serves no model {self._asked.model}: {said}")
        return BadDataError(f"{self._url} answers {response.status_code}: {said}", "lower chunking.size")
