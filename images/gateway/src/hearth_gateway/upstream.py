"""The engine, as the gateway calls it: a fresh connection per request, tried again until the first byte has come.

A kept connection would pin the gateway to an engine pod that is on its way out; a fresh one always goes to a pod that
the Service still lists. Asking a model again changes nothing but time, so a request whose engine was lost before its
client got a byte is asked again: once, because it may be what the engine died of.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import httpx

from hearth_gateway.admission import Place
from hearth_gateway.errors import ApiError, engine_lost, timed_out, unavailable
from hearth_gateway.metrics import Metrics
from hearth_gateway.request_body import written

PATIENCE_SECONDS = 15.0
"""How long an engine that cannot be reached is waited for: longer than a proxy needs to learn of a pod's end."""

REPLAYS = 1
"""How often a request is asked again that an engine had got when it was lost."""

PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)
UNREACHED = (httpx.ConnectError, httpx.ConnectTimeout)
LOST = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What an engine is asked. `id` is the request's id, which the engine logs too."""

    path: str
    payload: bytes
    stream: bool
    id: str


class Streamed:
    """An answer of which the first bytes have come; the rest is read by the caller, and raises httpx.HTTPError."""

    def __init__(self, response: httpx.Response, first: bytes, rest: AsyncIterator[bytes]) -> None:
        self.status_code, self.headers = response.status_code, response.headers
        self._response, self._first, self._rest = response, first, rest

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of its bytes, as they come."""
        yield self._first
        async for chunk in self._rest:
            yield chunk

    async def close(self) -> None:
        """Ends the connection, which tells the engine to stop."""
        await self._response.aclose()


class Upstream:
    """One engine Service."""

    def __init__(self, base: str, timeout: float, metrics: Metrics, patience: float = PATIENCE_SECONDS) -> None:
        self._timeout, self._metrics, self.patience = timeout, metrics, patience
        self._client = httpx.AsyncClient(
            base_url=base,
            timeout=httpx.Timeout(timeout, connect=2.0),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    async def close(self) -> None:
        """Closes what is open."""
        await self._client.aclose()

    async def tokens(self, request_id: str, text: str) -> int | None:
        """How many tokens the model makes of a text; None where the engine has no such route."""
        payload = written({"prompt": text, "add_special_tokens": False})
        answer = await self.whole(EngineRequest("/tokenize", payload, stream=False, id=request_id), None)
        if answer.status_code != httpx.codes.OK:
            return None
        counted = answer.json().get("count")
        return counted if isinstance(counted, int) else None

    async def whole(self, asked: EngineRequest, place: Place | None) -> httpx.Response:
        """The complete answer. Raises ApiError (429, 502, 503, 504).

        `place` holds it with the request; without one it is not counted.
        """
        return await self._until_answered(partial(self._complete, asked, place))

    @asynccontextmanager
    async def streamed(self, asked: EngineRequest) -> AsyncIterator[Streamed]:
        """The answer from its first byte on. Raises ApiError (502, 503, 504)."""
        answer = await self._until_answered(partial(self._begun, asked))
        try:
            yield answer
        finally:
            await answer.close()

    async def _until_answered(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Asks until something comes. Patience counts from the first failure, anew when an engine was at work since."""
        give_up, attempt, replays = math.inf, 0, 0
        while True:
            try:
                return await ask()
            except UNREACHED as error:
                lost: httpx.HTTPError = error
            except LOST as error:
                lost, give_up = error, math.inf
                replays += 1
            except httpx.TimeoutException as error:
                raise timed_out(self._timeout) from error
            if replays > REPLAYS:
                raise engine_lost(f"the engine was lost {replays} times at work on this request") from lost
            now = time.monotonic()
            give_up = min(give_up, now + self.patience)
            if now > give_up:
                raise self._unreachable(lost) from lost
            self._metrics.retries.inc()
            await asyncio.sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
            attempt += 1

    async def _complete(self, asked: EngineRequest, place: Place | None) -> httpx.Response:
        async with aclosing(await self._send(asked)) as response:
            content = b"".join([chunk async for chunk in _held(response, place, len(asked.payload))])
        kind = response.headers.get("content-type", "application/json")
        return httpx.Response(response.status_code, headers={"content-type": kind}, content=content)

    async def _begun(self, asked: EngineRequest) -> Streamed:
        response = await self._send(asked)
        try:
            chunks = response.aiter_raw()
            return Streamed(response, await anext(chunks, b""), chunks)
        except BaseException:
            await response.aclose()
            raise

    async def _send(self, asked: EngineRequest) -> httpx.Response:
        headers = {
            "x-request-id": asked.id,
            "connection": "close",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        request = self._client.build_request("POST", asked.path, content=asked.payload, headers=headers)
        return await self._client.send(request, stream=True)

    def _unreachable(self, error: httpx.HTTPError) -> ApiError:
        return unavailable(f"the engine does not answer ({type(error).__name__}); it may be starting: try again")


async def _held(response: httpx.Response, place: Place | None, beside: int) -> AsyncIterator[bytes]:
    """The answer's parts, counted twice: they are put together, and sent from a buffer."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if place is not None:
            place.hold(beside + 2 * size)
        yield chunk
