"""Clients that hang up before their answer is complete."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hearth_gateway.errors import gone


class WatchedStream(StreamingResponse):
    """A stream that tells of its end whichever way it comes: last byte, error, or a client that went away early."""

    def __init__(self, inner: StreamingResponse, ended: Callable[[bool], Awaitable[None]]) -> None:
        super().__init__(inner.body_iterator, inner.status_code)
        self.raw_headers = inner.raw_headers
        self._ended, self._complete = ended, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the stream."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._ended(self._complete)

    async def stream_response(self, send: Send) -> None:
        """Sends headers and all parts."""
        await super().stream_response(send)
        self._complete = True


async def unless_gone(request: Request, work: Coroutine[Any, Any, Response]) -> Response:
    """The answer, given up as soon as its client hangs up: a GPU should not write for nobody."""
    answering = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            return answering.result()
        raise gone()
    finally:
        for task in (answering, watching):
            task.cancel()
        await asyncio.gather(answering, watching, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
