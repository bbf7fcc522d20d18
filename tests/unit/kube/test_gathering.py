"""A watch that reads in batches over a real TLS connection: every line arrives, in order, however it comes."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvloop
from aiohttp import ClientTimeout, web
from hearth.kube import transport as http
from hearth.kube.credentials import Credentials
from hearth.kube.errors import ConnectionFailedError
from hearth.kube.gathering import GATHER, PLENTY
from hearth.kube.transport import Request, Transport
from hearth.runtime.progress_tls import renewed

WATCH = Request("GET", "/watch", "watch", "things")
KEYS = renewed(None, ("localhost",), datetime.now(UTC))
Writer = Callable[[web.StreamResponse], Coroutine[Any, Any, None]]
Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs on the loop of the operator and on Python's own: each has a TLS transport of its own."""
    loops: dict[str, Callable[..., None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}

    async def bounded(work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wait_for(work, 60)

    return lambda work: loops[request.param](bounded(work))


@asynccontextmanager
async def watching(write: Writer) -> AsyncIterator[Transport]:
    """A server that answers a watch by writing, and a client of it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await write(response)
        return response

    app = web.Application()
    app.router.add_get("/watch", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=KEYS.ssl_context())
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with Transport(Credentials(f"https://localhost:{port}", ca_data=KEYS.ca)) as client:
            yield client
    finally:
        await runner.cleanup()


def test_every_line_arrives_in_order_however_it_comes(run: Run) -> None:
    rng = random.Random(7)
    sent = [b"%d " % n + b"x" * rng.choice((1, 90, 3_000, 3 * PLENTY)) for n in range(300)]

    async def write(response: web.StreamResponse) -> None:
        text = b"".join(line + b"\n" for line in sent)
        at = 0
        while at < len(text):
            step = rng.choice((1, 700, 20_000, 2 * PLENTY, 8 * PLENTY))
            await response.write(text[at : at + step])
            at += step
            if rng.random() < 0.05:
                await asyncio.sleep(1.2 * GATHER * rng.random())

    async def watch() -> None:
        async with watching(write) as client:
            assert [line async for line in client.lines(WATCH)] == sent

    run(watch())


def test_small_lines_come_together_and_not_one_by_one(run: Run) -> None:
    async def write(response: web.StreamResponse) -> None:
        for number in range(50):
            await response.write(b"%d\n" % number)
            await asyncio.sleep(GATHER / 25)

    async def watch() -> None:
        async with watching(write) as client:
            lines = client.lines(WATCH)
            waits = 0
            async with aclosing(lines):
                for number in range(50):
                    waiting = asyncio.ensure_future(anext(lines))
                    await asyncio.sleep(0)
                    waits += not waiting.done()
                    assert await waiting == b"%d" % number
            assert waits < 25

    run(watch())


def test_a_watch_that_is_stopped_while_it_gathers_lets_go(run: Run) -> None:
    async def write(response: web.StreamResponse) -> None:
        while True:
            await response.write(b"again\n")
            await asyncio.sleep(GATHER / 10)

    async def watch() -> None:
        async with watching(write) as client:
            read = asyncio.ensure_future(_all(client))
            await asyncio.sleep(1.5 * GATHER)
            read.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(read, 10)

    run(watch())


def test_a_server_that_goes_while_lines_gather_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "STREAM_TIMEOUT", ClientTimeout(total=None, sock_read=10))

    async def write(response: web.StreamResponse) -> None:
        await response.write(b"the last one\n")
        connection = response._req.transport if response._req is not None else None
        assert connection is not None
        connection.abort()

    async def watch() -> None:
        async with watching(write) as client:
            with pytest.raises(ConnectionFailedError):
                await _all(client)

    run(watch())


async def _all(client: Transport) -> None:
    async for _ in client.lines(WATCH):
        pass
