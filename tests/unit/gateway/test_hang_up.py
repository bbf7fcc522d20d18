"""A client that goes away frees its place, and its engine stops, wherever its request is."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from hearth_gateway.retrieval import Found

CHAT = "/v1/chat/completions"
HELLO = {"messages": [{"role": "user", "content": "What colour is it?"}]}
RAG = {
    "index": "handbook",
    "milvus": {"uri": "http://nowhere:19530", "collection": "handbook", "owner": "team/handbook"},
    "embedding": {"url": "http://nowhere/v1", "model": "minilm", "field": "dense_text"},
}


class Caller:
    """An ASGI client that sends its request and hangs up when told to."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._request = [json.dumps(body).encode()]
        self._gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self.leave_after = self.stall_after = 1 << 30

    def leave(self) -> None:
        self._gone.set()

    async def receive(self) -> dict[str, Any]:
        if self._request:
            return {"type": "http.request", "body": self._request.pop(), "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if len(self.sent) >= self.leave_after:
            self.leave()
        if len(self.sent) >= self.stall_after:
            await asyncio.sleep(60)

    def ask(self, made: Any) -> asyncio.Task[None]:
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": [], "query_string": b"", "asgi": {}}
        return asyncio.create_task(made.app()(scope, self.receive, self.send))


async def until(true: Callable[[], Any]) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to pass in 5 s")


async def gone_without_a_trace(made: Any, asking: asyncio.Task[None]) -> None:
    await asyncio.wait_for(asking, 5)
    assert made.admission.in_flight == made.admission.held == 0
    status = {"route": "chat", "status": "499"}
    assert made.metrics.registry.get_sample_value("hearth_gateway_requests_total", status) == 1.0
    await made.upstream.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_engine_says_anything(gateway: Any, engine: Any, stream: bool) -> None:
    engine.hold = asyncio.Event()
    made, caller = gateway(), Caller(HELLO | {"stream": stream})
    asking = caller.ask(made)
    await until(lambda: engine.asked)
    caller.leave()
    await gone_without_a_trace(made, asking)
    await until(lambda: engine.hung_up)


async def test_in_the_middle_of_a_stream(gateway: Any, engine: Any) -> None:
    engine.answer, engine.word_seconds = "word " * 500, 0.01
    made, caller = gateway(), Caller(HELLO | {"stream": True})
    caller.leave_after = 4
    await gone_without_a_trace(made, caller.ask(made))
    await until(lambda: engine.hung_up)


async def test_one_that_stops_reading_keeps_its_place_until_its_time_is_up(gateway: Any, engine: Any) -> None:
    engine.answer, engine.word_seconds = "word " * 500, 0.01
    made, caller = gateway(requestTimeoutSeconds=0.5), Caller(HELLO | {"stream": True})
    caller.stall_after = 4
    await gone_without_a_trace(made, caller.ask(made))
    await until(lambda: engine.hung_up)


@pytest.mark.parametrize("stream", [False, True])
async def test_while_an_engine_is_waited_for(gateway: Any, stream: bool) -> None:
    made, caller = gateway(upstream="http://127.0.0.1:1"), Caller(HELLO | {"stream": stream})
    made.upstream.patience = 60.0
    asking = caller.ask(made)
    await until(lambda: made.metrics.registry.get_sample_value("hearth_gateway_upstream_retries_total"))
    caller.leave()
    await gone_without_a_trace(made, asking)


class SlowIndex:
    """Searches for ever."""

    def __init__(self) -> None:
        self.searching = self.stopped = False

    async def find(self, question: str) -> Found:
        self.searching = True
        try:
            await asyncio.sleep(60)
        finally:
            self.stopped = True
        return Found([], None, "Dense")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("stream", [False, True])
async def test_while_passages_are_looked_for(gateway: Any, stream: bool) -> None:
    index = SlowIndex()
    made, caller = gateway(index, rag=RAG), Caller(HELLO | {"stream": stream})
    asking = caller.ask(made)
    await until(lambda: index.searching)
    caller.leave()
    await gone_without_a_trace(made, asking)
    assert index.stopped


async def test_before_its_request_is_complete(gateway: Any, engine: Any) -> None:
    made, caller = gateway(), Caller(HELLO)
    caller._request.clear()
    caller.leave()
    await gone_without_a_trace(made, caller.ask(made))
    assert engine.asked == []
