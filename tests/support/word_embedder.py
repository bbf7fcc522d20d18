"""An embedding endpoint that costs nothing and is the same every time."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class WordEmbedder:
    """An OpenAI-compatible embedding endpoint whose vectors depend on words alone: equal words, equal vectors."""

    dimension: int = 32
    url: str = ""
    asked: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """HTTP status codes that the next embedding requests get instead of an answer."""
    fail_after: int | None = None
    """Texts after which every request gets 503."""
    longest: int = 256

    def vector(self, text: str) -> list[float]:
        """A bag of words, each word a fixed random direction."""
        total = [0.0] * self.dimension
        for word in re.findall(r"\w+", text.lower()):
            digest = hashlib.shake_128(word.encode()).digest(self.dimension)
            total = [t + byte - 127.5 for t, byte in zip(total, digest, strict=True)]
        norm = sum(t * t for t in total) ** 0.5 or 1.0
        return [t / norm for t in total]

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Status and body of one request."""
        if path == "/tokenize":
            extra = 2 if body["add_special_tokens"] else 0
            return 200, {
                "count": len(re.findall(r"\w+|[^\w\s]", body["prompt"])) + extra,
                "max_model_len": self.longest,
            }
        if self.failures:
            return self.failures.pop(0), {"error": "not now"}
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            return 503, {"error": "gone"}
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        self.asked += texts
        data = [{"index": i, "embedding": self.vector(text)} for i, text in enumerate(texts)]
        return 200, {"data": data}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    """Connections are kept, as vLLM keeps them: counting tokens is one small request after another."""

    wbufsize = -1
    """Head and body in one packet: in two, each answer would wait for the client's delayed acknowledgement."""

    embedder: WordEmbedder

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, reply = self.embedder.answer(self.path, body)
        content = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Silence."""


@contextmanager
def word_embedder() -> Iterator[WordEmbedder]:
    """A fresh embedding endpoint on loopback."""
    fake = WordEmbedder()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"embedder": fake}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
