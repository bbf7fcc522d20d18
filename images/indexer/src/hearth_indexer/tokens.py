"""Counts the embedder's tokens, so that a chunk is as long as the embedder can read.

vLLM answers `POST /tokenize` beside its OpenAI API (vllm/entrypoints/serve/tokenize). Where the endpoint has no such
route, tokens are estimated from characters, on the high side.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Protocol

import httpx

from hearth_indexer.outcome import UnavailableError
from hearth_indexer.retry import answered

LETTERS_PER_TOKEN = 4
"""English text has about 4.5 letters a token in the vocabularies of sentence encoders; 4 errs on the safe side."""

REMEMBERED = 65536
"""Texts whose length is remembered: the headings above many chunks, and what a window repeats."""

NO_SUCH_ROUTE = frozenset({400, 401, 403, 404, 405, 501})


class TokenCounter(Protocol):
    """How long a text is for one embedder."""

    exact: bool
    """Whether the embedder's own tokenizer counted."""
    limit: int | None
    """Tokens that the embedder reads at most, less those it adds itself; None where it does not say."""

    def count(self, text: str) -> int:
        """Tokens of the text, without those that the embedder adds at its ends."""


class EstimatedTokens:
    """Counts from characters alone."""

    exact = False
    limit: int | None = None

    def count(self, text: str) -> int:
        """Each word is a token for every four letters, each other visible character (also of CJK text) is one."""
        words = re.findall(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]", text)
        return sum(math.ceil(len(word) / LETTERS_PER_TOKEN) for word in words)


class EndpointTokens:
    """Counts by asking the embedder. Safe to use from several threads."""

    exact = True

    def __init__(self, client: httpx.Client, url: str, model: str, headers: Mapping[str, str]) -> None:
        """Raises UnavailableError, or LookupError where the endpoint has no such route."""
        self._client = client
        self._headers = headers
        self._url = url.removesuffix("/").removesuffix("/v1") + "/tokenize"
        self._model = model
        bare, longest = self._ask("a", special=False)
        wrapped, _ = self._ask("a", special=True)
        self.limit = None if longest is None else longest - (wrapped - bare)
        self._counted: dict[bytes, int] = {}

    def count(self, text: str) -> int:
        """Remembered by a digest of the text: whole documents are counted too, and must not stay in memory."""
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        tokens = self._counted.get(key)
        if tokens is None:
            if len(self._counted) >= REMEMBERED:
                self._counted.clear()
            tokens = self._counted[key] = self._ask(text, special=False)[0]
        return tokens

    def _ask(self, text: str, special: bool) -> tuple[int, int | None]:
        body = {"model": self._model, "prompt": text, "add_special_tokens": special}
        response = answered(lambda: self._client.post(self._url, json=body, headers=self._headers), self._url)
        if response.status_code in NO_SUCH_ROUTE:
            raise LookupError(self._url)
        if response.is_error:
            raise UnavailableError(f"{self._url} answers {response.status_code}: {response.text[:200]}")
        reply = response.json()
        return int(reply["count"]), reply.get("max_model_len")


def token_counter(client: httpx.Client, url: str, model: str, headers: Mapping[str, str]) -> TokenCounter:
    """The embedder's own tokenizer where it can be asked, else an estimate."""
    try:
        return EndpointTokens(client, url, model, headers)
    except LookupError:
        return EstimatedTokens()
