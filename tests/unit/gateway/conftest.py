"""A small OpenAI-like engine on a real socket, and a gateway in front of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hearth_gateway.app import Gateway
from hearth_gateway.config import Config
from hearth_gateway.retrieval import Retriever


@dataclass
class Asked:
    """One request as the engine saw it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int


@dataclass
class FakeEngine:
    """Answers chats with `answer`, word by word where asked to stream. One entry of `faults` is used per request.

    drop: the connection ends without an answer; cut: after two words of a stream; headers: after a stream's headers;
    half: in the middle of a whole answer; refuse: HTTP 400. `drop 0.5` works half a second before.
    """

    answer: str | None = "It is blue."
    word_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    hung_up: int = 0
    port: int = 0
    connections: int = 0
    hold: asyncio.Event | None = None
    names: tuple[str, ...] = ("court", "court@0123456789ab")
    """What it serves its model as. Like vLLM it answers a request that names no model, under the first."""
    counts: Callable[[str], int] | None = None
    """Its tokenizer; without one it has no /tokenize."""
    garbage: bool = False
    """Whether streams hold something that is no JSON."""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        try:
            while head := await self._head(reader):
                path, headers = head
                body = json.loads(await reader.readexactly(int(headers.get("content-length", 0))) or b"{}")
                self.asked.append(Asked(path, headers, body, number))
                if not await self._let_go(reader):
                    raise ConnectionResetError
                fault, _, seconds = (self.faults.pop(0) if self.faults else "").partition(" ")
                await asyncio.sleep(float(seconds or 0))
                if fault == "drop":
                    break
                await self._respond(writer, path, body, fault)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up += 1
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
        text = await reader.readuntil(b"\r\n\r\n")
        first, *lines = text.decode().strip().split("\r\n")
        return first.split()[1], {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}

    async def _let_go(self, reader: asyncio.StreamReader) -> bool:
        """Waits while answers are held back; False where the other side hangs up before."""
        if self.hold is None:
            return True
        waiting = [asyncio.ensure_future(self.hold.wait()), asyncio.ensure_future(reader.read(1))]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return self.hold.is_set()

    async def _respond(self, writer: asyncio.StreamWriter, path: str, body: dict[str, Any], fault: str) -> None:
        if body.get("model", self.names[0]) not in self.names:
            fault = "unknown"
        elif body.get("stream"):
            await self._stream(writer, body, fault)
            return
        if path == "/tokenize" and self.counts is None:
            fault = "unknown"
        choice = {"index": 0, "message": {"role": "assistant", "content": self.answer}, "finish_reason": "stop"}
        answer = {"id": "x", "object": "chat.completion", "model": self.names[0], "choices": [choice], "usage": {}}
        if path == "/tokenize" and self.counts is not None:
            answer = {"count": self.counts(body["prompt"]), "max_model_len": 2048, "tokens": []}
        status = {"refuse": "400 Bad Request", "unknown": "404 Not Found"}.get(fault, "200 OK")
        payload = json.dumps(answer if status == "200 OK" else {"error": {"message": "no"}}).encode()
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
        writer.write(head.encode() + (payload[:20] if fault == "half" else payload))
        await writer.drain()
        if fault == "half":
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter, body: dict[str, Any], fault: str) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        if fault == "headers":
            await writer.drain()
            writer.close()
            return
        if self.garbage:
            await self._chunk(writer, b"data: {broken\n\n")
        words = (self.answer or "").split(" ")
        for n, word in enumerate(words):
            await asyncio.sleep(self.word_seconds)
            await self._event(writer, {"delta": {"content": word if n == 0 else f" {word}"}, "finish_reason": None})
            if fault == "cut" and n == 1:
                writer.close()
                return
        await self._event(writer, {"delta": {}, "finish_reason": "stop"})
        await self._chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _event(self, writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
        chunk = {"id": "x", "object": "chat.completion.chunk", "choices": [{"index": 0, **choice}]}
        await self._chunk(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")

    async def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if writer.transport.is_closing():
            raise ConnectionResetError
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        await writer.drain()


@pytest.fixture
async def engine() -> AsyncIterator[FakeEngine]:
    made = FakeEngine()
    server = await asyncio.start_server(made.connected, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()


Client = httpx.AsyncClient


@asynccontextmanager
async def client_of(gateway: Gateway) -> AsyncIterator[Client]:
    transport = httpx.ASGITransport(app=gateway.app())
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
    await gateway.upstream.close()


@pytest.fixture
def configured(engine: FakeEngine) -> Callable[..., Config]:
    def make(**fields: Any) -> Config:
        base = {"service": "law/court", "servedName": "court", "upstream": f"http://127.0.0.1:{engine.port}"}
        return Config.model_validate(base | fields)

    return make


@pytest.fixture
def gateway(configured: Callable[..., Config]) -> Callable[..., Gateway]:
    def make(retriever: Retriever | None = None, **fields: Any) -> Gateway:
        return Gateway(configured(**fields), retriever, patience=1.0)

    return make


@pytest.fixture
def calling() -> Callable[[Gateway], Any]:
    return client_of
