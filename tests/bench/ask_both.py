"""Asks an engine directly and through the gateway in turn, and prints every time as one line of JSON.

Usage: ask_both.py DIRECT GATEWAY MODEL COUNT CONCURRENCY

Needs httpx alone, so that it runs wherever the two can be reached. Seconds: `whole` is a request without streaming,
`firstByte` the time to the first content of a stream. A line on stderr for each round of four requests.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import httpx

WARM_UP = 10


class Asker:
    """One way to the engine."""

    def __init__(self, base: str, model: str) -> None:
        self.base, self.model = base, model
        self.whole: list[float] = []
        self.first_byte: list[float] = []

    def _body(self, *, stream: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": "Count to four."}]
        return {"model": self.model, "messages": messages, "max_tokens": 8, "temperature": 0, "stream": stream}

    async def ask(self, client: httpx.AsyncClient, *, stream: bool) -> None:
        """One request. Raises httpx.HTTPError where it is not answered."""
        url, body = f"{self.base}/v1/chat/completions", self._body(stream=stream)
        began = time.perf_counter()
        if not stream:
            (await client.post(url, json=body)).raise_for_status()
            self.whole.append(time.perf_counter() - began)
            return
        async with client.stream("POST", url, json=body) as response:
            response.raise_for_status()
            seen = False
            async for line in response.aiter_lines():
                if not seen and line.startswith("data: {") and '"content"' in line:
                    seen = True
                    self.first_byte.append(time.perf_counter() - began)

    def forget(self) -> None:
        """Drops what the warm-up measured."""
        self.whole.clear()
        self.first_byte.clear()


async def _some(client: httpx.AsyncClient, ways: list[Asker], count: int) -> None:
    for number in range(count):
        for way in ways if number % 2 else reversed(ways):
            await way.ask(client, stream=False)
            await way.ask(client, stream=True)
        print("asked", file=sys.stderr, flush=True)


async def main(direct: str, gateway: str, model: str, count: int, concurrency: int) -> None:
    """Both ways take turns, so that whatever else the machine does meets both."""
    ways = [Asker(direct, model), Asker(gateway, model)]
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        await _some(client, ways, WARM_UP)
        for way in ways:
            way.forget()
        began = time.perf_counter()
        await asyncio.gather(*(_some(client, ways, count // concurrency) for _ in range(concurrency)))
        seconds = time.perf_counter() - began
    names = ("direct", "gateway")
    times = {n: {"whole": w.whole, "firstByte": w.first_byte} for n, w in zip(names, ways, strict=True)}
    print(json.dumps({"seconds": seconds, **times}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
