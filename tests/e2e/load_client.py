"""Runs in a pod: asks a service again and again until told to stop, and counts what did not come back whole.

Usage: load_client.py URL MODEL WORKERS LEAST, where URL ends with /v1. Stops when /tmp/stop exists and at least LEAST
requests were sent; prints one JSON line. Every second request is a stream and every third a chat, the others complete a
few words; every hundredth asks for an answer of many seconds. Each has a connection of its own, as from many clients.
"""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

STOP = Path("/tmp/stop")
CHAT_EVERY, LONG_EVERY, LONG_TOKENS, SHORT_TOKENS = 3, 99, 400, 3
"""Odd intervals, so that streams and whole answers take turns in being chats, and in being long."""


class Load:
    """Counts of one run."""

    def __init__(self, url: str, model: str) -> None:
        self.url, self.model = url, model
        self.sent = 0
        self.answered = 0
        self.long = 0
        self.lost: list[str] = []
        self.slowest = 0.0

    def request(self, number: int) -> tuple[str, dict[str, Any]]:
        """Path and body of a request."""
        long = number % LONG_EVERY == 0
        self.long += long
        body = {"model": self.model, "temperature": 0, "stream": number % 2 == 0}
        if not long and number % CHAT_EVERY:
            return "/completions", body | {"prompt": f"{number}, {number + 1},", "max_tokens": SHORT_TOKENS}
        question = "Tell a long story." if long else f"Say the number {number}."
        messages = [{"role": "user", "content": question}]
        return "/chat/completions", body | {"messages": messages, "max_tokens": LONG_TOKENS if long else SHORT_TOKENS}

    async def ask(self, client: httpx.AsyncClient) -> None:
        self.sent += 1
        number, begun = self.sent, time.monotonic()
        path, body = self.request(number)
        try:
            if body["stream"]:
                await self._stream(client, path, body)
            else:
                await self._whole(client, path, body)
            self.answered += 1
        except (httpx.HTTPError, ValueError, KeyError, IndexError) as error:
            self.lost.append(f"request {number}: {type(error).__name__}: {error}"[:300])
        self.slowest = max(self.slowest, time.monotonic() - begun)

    async def _whole(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        response = await client.post(self.url + path, json=body)
        if response.status_code != 200:
            raise ValueError(f"{response.status_code} {response.text[:200]}")
        choice = response.json()["choices"][0]
        check(choice, choice["text"] if "text" in choice else choice["message"]["content"])

    async def _stream(self, client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
        async with client.stream("POST", self.url + path, json=body) as response:
            text = (await response.aread()).decode()
        if response.status_code != 200 or not text.endswith("data: [DONE]\n\n"):
            raise ValueError(f"{response.status_code} {text[-200:]}")
        choices = [json.loads(e[6:])["choices"][0] for e in text.split("\n\n") if e.startswith("data: {")]
        said = "".join(c["text"] if "text" in c else c["delta"].get("content") or "" for c in choices)
        check(choices[-1], said)

    async def worker(self, least: int) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=300, limits=limits, trust_env=False) as client:
            while self.sent < least or not await asyncio.to_thread(STOP.exists):
                await self.ask(client)


def check(choice: dict[str, Any], said: str) -> None:
    """A whole answer has words and ended by itself, not because its engine went away."""
    if not said or choice["finish_reason"] not in ("stop", "length"):
        raise ValueError(f"cut off: {choice['finish_reason']} {said!r}")


async def main(url: str, model: str, workers: int, least: int) -> None:
    """Runs the load."""
    load, begun = Load(url, model), time.monotonic()
    print("started", flush=True)
    await asyncio.gather(*(load.worker(least) for _ in range(workers)))
    seconds = time.monotonic() - begun
    result = {"sent": load.sent, "answered": load.answered, "lost": load.lost[:20], "seconds": round(seconds, 1)}
    print(json.dumps(result | {"slowest": round(load.slowest, 2), "long": load.long}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
