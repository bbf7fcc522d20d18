"""The engine, as the gateway calls it: a fresh connection per request, tried again until the first byte has come.

A kept connection would pin the gateway to an engine pod that is on its way out; a fresh one always goes to a pod that
the Service still lists. Asking a model again changes nothing but time, so a request that got no answer is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from hearth_gateway.errors import ApiError, timed_out, unavailable
from hearth_gateway.metrics import Metrics
from hearth_gateway.policy import for_engine

PATIENCE_SECONDS = 15.0
"""How long an engine that cannot be reached is waited for: longer than a proxy needs to learn of a pod's end."""

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
LOST = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class Upstream:
    """One engine Service."""

    def __init__(self, base: str, timeout: float, metrics: Metrics, patience: float = PATIENCE_SECONDS) -> None:
        self._base, self._timeout, self._metrics, self._patience = base, timeout, metrics, patience
        self._client = httpx.AsyncClient(
            base_url=base,
            timeout=httpx.Timeout(timeout, connect=2.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._client.aclose()

    async def whole(self, path: str, body: dict[str, Any], request_id: str) -> httpx.Response:
        """The complete answer. Raises ApiError (503, 504) where none comes."""
        async with self._answered(path, body, request_id, read=True) as response:
            return response

    @asynccontextmanager
    async def streamed(self, path: str, body: dict[str, Any], request_id: str) -> AsyncIterator[httpx.Response]:
        """The answer from its headers on; its bytes are read by the caller. Raises ApiError (503, 504)."""
        async with self._answered(path, body, request_id, read=False) as response:
            yield response

    @asynccontextmanager
    async def _answered(
        self, path: str, body: dict[str, Any], request_id: str, *, read: bool
    ) -> AsyncIterator[httpx.Response]:
        response = await self._until_answered(path, body, request_id, read=read)
        try:
            yield response
        finally:
            await response.aclose()

    async def _until_answered(self, path: str, body: dict[str, Any], request_id: str, *, read: bool) -> httpx.Response:
        give_up = time.monotonic() + self._patience
        attempt = 0
        while True:
            try:
                return await self._send(path, body, request_id, read=read)
            except httpx.TimeoutException as error:
                if not isinstance(error, httpx.ConnectTimeout):
                    raise timed_out(self._timeout) from error
                lost: httpx.HTTPError = error
            except LOST as error:
                lost = error
            if time.monotonic() > give_up:
                raise self._unreachable(lost) from lost
            self._metrics.retries.inc()
            await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    async def _send(self, path: str, body: dict[str, Any], request_id: str, *, read: bool) -> httpx.Response:
        headers = {"x-request-id": request_id, "connection": "close", "accept-encoding": "identity"}
        request = self._client.build_request("POST", path, json=for_engine(body), headers=headers)
        response = await self._client.send(request, stream=True)
        if read:
            try:
                await response.aread()
            finally:
                await response.aclose()
        return response

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        return unavailable(f"the engine does not answer ({type(error).__name__}); it may be starting: try again")
