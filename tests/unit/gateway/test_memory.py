"""What requests hold together stays within what the pod may take."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hearth_gateway import request_body
from hearth_gateway.admission import LEAST_BYTES, REQUEST_BYTES, Admission, request_budget
from hearth_gateway.errors import ApiError
from hearth_gateway.metrics import Metrics
from hearth_gateway.request_body import reading_bytes, written

CHAT = "/v1/chat/completions"
MIB = 2**20
NO_MEMORY = {"memoryBytes": 1}
"""The least budget: bodies of 1 MiB are few in it."""


def chat(size: int) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x" * size}]}


def test_the_budget_is_what_the_process_leaves_of_the_limit() -> None:
    assert request_budget(512 * MIB) == 288 * MIB
    assert request_budget(4096 * MIB) > 7 * request_budget(512 * MIB)
    assert request_budget(64 * MIB) == LEAST_BYTES


async def test_bodies_in_flight_are_few_enough_to_be_held(gateway: Any, engine: Any, calling: Any) -> None:
    engine.hold = asyncio.Event()
    made = gateway(**NO_MEMORY)
    async with calling(made) as client:
        asking = []
        for number in range(20):
            asking.append(asyncio.create_task(client.post(CHAT, json=chat(MIB))))
            for _ in range(500):
                if len(engine.asked) > number or asking[-1].done():
                    break
                await asyncio.sleep(0.01)
            assert made.admission.held <= made.admission.budget
        refused = [task.result() for task in asking if task.done()]
        engine.hold.set()
        served = [await task for task in asking[: -len(refused)]]
        after = await client.post(CHAT, json=chat(MIB))
        metrics = (await client.get("/metrics")).text
    assert {r.status_code for r in served} == {200}
    assert len(served) >= 4
    assert {r.status_code for r in refused} == {429}
    assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
    assert refused[0].json()["error"]["code"] == "overloaded"
    assert f'hearth_gateway_rejected_total{{reason="memory"}} {len(refused)}.0' in metrics
    assert after.status_code == 200, "what was held is given back"
    assert made.admission.held == 0


def test_refusals_do_not_count_as_quick_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    admission = Admission(10, LEAST_BYTES, Metrics())
    for _ in range(50):
        with admission.slot():
            now += 30
    with admission.slot() as there:
        there.hold(LEAST_BYTES // 2)
        for _ in range(50):
            with admission.slot() as refused, pytest.raises(ApiError) as error:
                refused.hold(LEAST_BYTES - REQUEST_BYTES)
    assert error.value.retry_after == 30


async def test_a_body_that_finds_no_room_is_not_read(gateway: Any, engine: Any, calling: Any) -> None:
    made = gateway(**NO_MEMORY)

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    length = [(b"content-length", str(2 * MIB).encode())]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": length, "query_string": b"", "asgi": {}}
    await made.app()(scope, receive, send)
    assert sent[0]["status"] == 413
    assert b"gateway.resources.limits.memory" in sent[1]["body"]
    await made.upstream.close()


async def test_a_body_of_unknown_length_is_read_as_far_as_there_is_room(
    gateway: Any, engine: Any, calling: Any
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 64 * 2**10
            yield b" " * (64 * 2**10)

    async with calling(gateway(**NO_MEMORY)) as client:
        response = await client.post(CHAT, content=endless())
    assert response.status_code == 413
    assert read < 2 * MIB


async def test_a_body_that_is_small_and_takes_much_is_refused(gateway: Any, engine: Any, calling: Any) -> None:
    content = b'{"messages": [' + b"{}," * 100_000 + b"{}]}"
    async with calling(gateway(**NO_MEMORY)) as client:
        response = await client.post(CHAT, content=content)
    assert response.status_code == 413


async def test_a_body_larger_than_any_is_refused_whatever_the_memory(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway(memoryBytes=2**40)) as client:
        response = await client.post(CHAT, content=b" " * (request_body.BODY_LIMIT + 1))
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


async def test_a_body_that_does_not_come_frees_its_place(
    gateway: Any, engine: Any, calling: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_body, "BODY_SECONDS", 0.1)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(60)

    made = gateway()
    async with calling(made) as client:
        response = await client.post(CHAT, content=stalled())
    assert response.status_code == 408
    assert made.admission.in_flight == made.admission.held == 0


async def test_an_answer_that_finds_no_room_is_refused(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = "x" * 20 * MIB
    async with calling(gateway(**NO_MEMORY)) as client:
        response = await client.post(CHAT, json=chat(1))
    assert response.status_code == 413


async def test_a_long_stream_is_not_held(gateway: Any, engine: Any, calling: Any) -> None:
    engine.answer = " ".join(["x" * MIB] * 20)
    made = gateway(**NO_MEMORY)
    async with calling(made) as client, client.stream("POST", CHAT, json=chat(1) | {"stream": True}) as response:
        async for _ in response.aiter_raw():
            assert made.admission.held < MIB
    assert response.status_code == 200


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def test_while_the_engine_works_a_request_is_held_once_as_the_engine_gets_it(
    gateway: Any, monkeypatch: pytest.MonkeyPatch, calling: Any, traced: None
) -> None:
    # One wide character: the parsed text takes four bytes a character.
    content = json.dumps({"messages": [{"role": "user", "content": "x" * MIB + "😀"}]}).encode()
    made, held = gateway(), []

    async def whole(asked: Any, place: Any) -> httpx.Response:
        held.append((tracemalloc.get_traced_memory()[0] - before, made.admission.held))
        return httpx.Response(200, json={})

    monkeypatch.setattr(made.upstream, "whole", whole)
    async with calling(made) as client:
        await client.get("/healthz")
        before = tracemalloc.get_traced_memory()[0]
        await client.post(CHAT, content=content)
    ((really, counted),) = held
    assert len(content) <= really < 2 * len(content)
    assert len(content) <= counted < 2 * len(content)


SAMPLES = {
    "text": b'{"a":"' + b"word " * 20_000 + b'"}',
    "text with one wide character": b'{"a":"' + b"word " * 20_000 + "😀".encode() + b'"}',
    "text with one escaped wide character": b'{"a":"' + b"word " * 20_000 + b'\\ud83d\\ude00"}',
    "Chinese": ('{"a":"' + "漢" * 30_000 + '"}').encode(),
    "empty objects": b'{"a":[' + b"{}," * 30_000 + b"0]}",
    "objects": b'{"a":[' + b'{"a":1},' * 12_000 + b"0]}",
    "lists": b'{"a":[' + b"[1]," * 25_000 + b"0]}",
    "empty lists": b'{"a":[' + b"[]," * 30_000 + b"0]}",
    "tokens": b'{"a":[' + b"1000," * 20_000 + b"0]}",
    "numbers": b'{"a":[' + b"0.5," * 20_000 + b"0]}",
    "short texts": b'{"a":[' + '"漢",'.encode() * 16_000 + b"0]}",
    "keys": b"{" + b",".join(b'"%x":1' % i for i in range(21_846)) + b"}",
}


@pytest.mark.parametrize("raw", SAMPLES.values(), ids=SAMPLES.keys())
def test_reading_and_writing_json_takes_no_more_than_was_reckoned(raw: bytes, traced: None) -> None:
    before = tracemalloc.get_traced_memory()[0]
    received = bytearray(raw)
    body = json.loads(received)
    del received
    written(body)
    assert tracemalloc.get_traced_memory()[1] - before <= reading_bytes(raw) + REQUEST_BYTES


@pytest.mark.parametrize(
    "body",
    [b'{"messages": ' + b"[" * 100_000, b'{"temperature": NaN, "messages": []}', b'{"a": "\xff"}'],
    ids=["nested too deeply", "not a number", "not UTF-8"],
)
async def test_what_python_alone_would_read_is_refused(gateway: Any, engine: Any, calling: Any, body: bytes) -> None:
    async with calling(gateway()) as client:
        response = await client.post(CHAT, content=body)
    assert response.status_code == 400
    assert "the body is not JSON" in response.json()["error"]["message"]


async def test_half_a_surrogate_pair_reaches_the_engine_as_it_came(gateway: Any, engine: Any, calling: Any) -> None:
    async with calling(gateway()) as client:
        response = await client.post(CHAT, content=b'{"messages": [{"role": "user", "content": "\\ud83d"}]}')
    assert response.status_code == 200
    assert engine.asked[0].body["messages"][0]["content"] == "\ud83d"
