"""The engine, as the gateway calls it: a fresh connection per request, tried again until the first byte has come.

A kept connection would pin the gateway to an engine pod that is on its way out; a fresh one always goes to a pod that
the Service still lists. Asking a model again changes nothing but time, so a request that got no answer is repeated.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from hearth_gateway.admission import Place
from hearth_gateway.errors import ApiError, timed_out, unavailable
from hearth_gateway.metrics import Metrics

PATIENCE_SECONDS = 15.0
"""How long an engine that cannot be reached is waited for: longer than a proxy needs to learn of a pod's end."""

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
LOST = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What an engine is asked. `id` is the request's id, which the engine logs too."""

    path: str
    payload: bytes
    stream: bool
    id: str


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

    async def whole(self, asked: EngineRequest, place: Place) -> httpx.Response:
        """The complete answer, which `place` holds with the request. Raises ApiError (429, 503, 504)."""
        return await self._until_answered(asked, place)

    @asynccontextmanager
    async def streamed(self, asked: EngineRequest) -> AsyncIterator[httpx.Response]:
        """The answer from its headers on; its bytes are read by the caller. Raises ApiError (503, 504)."""
        response = await self._until_answered(asked, None)
        try:
            yield response
        finally:
            await response.aclose()

    async def _until_answered(self, asked: EngineRequest, place: Place | None) -> httpx.Response:
        give_up = time.monotonic() + self._patience
        attempt = 0
        while True:
            try:
                return await self._send(asked, place)
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

    async def _send(self, asked: EngineRequest, place: Place | None) -> httpx.Response:
        headers = {
            "x-request-id": asked.id,
            "connection": "close",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        request = self._client.build_request("POST", asked.path, content=asked.payload, headers=headers)
        response = await self._client.send(request, stream=True)
        if place is None:
            return response
        try:
            content = b"".join([chunk async for chunk in _held(response, place, len(asked.payload))])
        finally:
            await response.aclose()
        kind = response.headers.get("content-type", "application/json")
        return httpx.Response(response.status_code, headers={"content-type": kind}, content=content)

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        return unavailable(f"the engine does not answer ({type(error).__name__}); it may be starting: try again")


async def _held(response: httpx.Response, place: Place, beside: int) -> AsyncIterator[bytes]:
    """The answer's parts, counted twice: they are put together, and sent from a buffer."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        place.hold(beside + 2 * size)
        yield chunk
