"""HTTP to one API server: authentication, retries, counting. Knows nothing of objects."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

import aiohttp
import orjson

from hearth.api.base import Json
from hearth.kube.credentials import Credentials
from hearth.kube.errors import ApiError, ConnectionFailedError, UnauthorizedError, from_response
from hearth.kube.gathering import PLENTY, gather, hold_at_the_socket
from hearth.kube.retry import REQUESTS, TRIES, wait_before_retry

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=5, sock_read=120)
"""A watch sends a bookmark about once a minute; a stream silent for twice that is taken for dead."""
CONCURRENT_REQUESTS = 32


@dataclass(frozen=True, slots=True)
class Request:
    """One request, with the words it is counted under."""

    method: str
    path: str
    verb: str
    resource: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json | None = None
    content_type: str = "application/json"
    accept: str = "application/json"
    repeatable: bool = True
    """Whether sending it twice is the same as sending it once; if not, it is repeated only after a 429."""


class Counter(Protocol):
    """Is told of every answer."""

    def __call__(self, *, verb: str, resource: str, code: int, seconds: float) -> None:
        """One request got this answer; `code` 0 means that none came."""


def count_nothing(*, verb: str, resource: str, code: int, seconds: float) -> None:
    """A counter for callers who do not count."""


class Transport:
    """A pool of connections to one API server. An async context manager."""

    def __init__(self, credentials: Credentials, count: Counter = count_nothing, user_agent: str = "hearth") -> None:
        self.credentials = credentials
        self._count = count
        self._user_agent = user_agent
        self._rng = random.Random()  # noqa: S311 - spreads retries in time, guards nothing
        self._slots = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Opens the pool; no request is sent."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self.credentials.ssl_context(), enable_cleanup_closed=False)
        session = aiohttp.ClientSession(connector=connector, headers={"User-Agent": self._user_agent})
        self._session = await self._stack.enter_async_context(session)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every connection."""
        self._session = None
        await self._stack.aclose()

    async def send(self, request: Request) -> bytes:
        """The body of a successful answer, after as many tries as make sense."""
        failures = 0
        while True:
            try:
                async with self._slots:
                    return await self._send_once(request)
            except ApiError as error:
                failures += 1
                delay = self._delay_after(error, request, failures)
                if delay is None:
                    raise
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                failures += 1
                if failures >= TRIES or not request.repeatable:
                    raise ConnectionFailedError(
                        f"{request.method} {self.credentials.server}{request.path}: {error or type(error).__name__}"
                    ) from error
                delay = REQUESTS.delay(failures, self._rng)
            log.info("%s %s failed, trying again in %.1f s", request.verb, request.path, delay)
            await asyncio.sleep(delay)

    def _delay_after(self, error: ApiError, request: Request, failures: int) -> float | None:
        if isinstance(error, UnauthorizedError) and failures == 1 and self.credentials.token_source is not None:
            self.credentials.forget_token()
            return 0.0
        if not request.repeatable and error.code != 429:
            return None
        return wait_before_retry(error, failures, self._rng)

    async def _send_once(self, request: Request) -> bytes:
        started = time.monotonic()
        code = 0
        try:
            async with await self._open(request, REQUEST_TIMEOUT) as response:
                code = response.status
                body = await response.read()
                if code >= 400:
                    raise from_response(code, body, _retry_after(response))
                return body
        finally:
            self._count(verb=request.verb, resource=request.resource, code=code, seconds=time.monotonic() - started)

    async def _open(self, request: Request, limits: aiohttp.ClientTimeout) -> aiohttp.client._RequestContextManager:
        if self._session is None:
            raise RuntimeError("the transport is not open")
        # Lists come compressed otherwise, which takes both sides longer than a network near the API server.
        headers = {"Accept": request.accept, "Accept-Encoding": "identity"}
        if (token := await self.credentials.bearer()) is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if request.body is not None:
            headers["Content-Type"] = request.content_type
            data = orjson.dumps(request.body)
        return self._session.request(
            request.method,
            self.credentials.server + request.path,
            params=request.query,
            data=data,
            headers=headers,
            timeout=limits,
            server_hostname=self.credentials.server_name,
            allow_redirects=False,
        )

    async def lines(self, request: Request) -> AsyncIterator[bytes]:
        """The lines of a streamed answer. Not retried: only the caller knows where to go on."""
        started = time.monotonic()
        try:
            async with await self._open(request, STREAM_TIMEOUT) as response:
                self._count(
                    verb=request.verb,
                    resource=request.resource,
                    code=response.status,
                    seconds=time.monotonic() - started,
                )
                if response.status >= 400:
                    raise from_response(response.status, await response.read(), _retry_after(response))
                hold_at_the_socket(response)
                rest = b""
                async for chunk in response.content.iter_any():
                    *complete, rest = (rest + chunk).split(b"\n")
                    for line in complete:
                        yield line
                    if len(chunk) < PLENTY:
                        await gather(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ConnectionFailedError(f"{request.path}: {error or type(error).__name__}") from error


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
