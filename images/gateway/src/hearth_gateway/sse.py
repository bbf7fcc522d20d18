"""Server-sent events, as OpenAI streams are made of."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

DONE = b"data: [DONE]\n\n"


def event(data: dict[str, Any]) -> bytes:
    """One event with a JSON object."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each event, whichever way the bytes were cut; `[DONE]` included."""
    buffer = b""
    async for chunk in chunks:
        buffer += chunk.replace(b"\r\n", b"\n")
        while b"\n\n" in buffer:
            whole, buffer = buffer.split(b"\n\n", 1)
            lines = [line[5:].removeprefix(b" ") for line in whole.split(b"\n") if line.startswith(b"data:")]
            if lines:
                yield b"\n".join(lines).decode()
