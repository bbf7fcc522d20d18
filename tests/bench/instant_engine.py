"""An engine that takes no time: OpenAI's chat API with a fixed answer, so that only the way to it is measured.

Usage: instant_engine.py PORT
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = [f"word{number} " for number in range(16)]
HEAD = {"id": "chatcmpl-0", "created": 0, "model": "bench"}


def _event(delta: dict[str, Any], reason: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({**HEAD, 'object': 'chat.completion.chunk', 'choices': [choice]})}\n\n"


async def _stream() -> AsyncIterator[str]:
    yield _event({"role": "assistant"})
    for word in WORDS:
        yield _event({"content": word})
    yield _event({}, "stop")
    yield "data: [DONE]\n\n"


async def chat(request: Request) -> Response:
    """POST /v1/chat/completions."""
    body = await request.json()
    if body.get("stream"):
        return StreamingResponse(_stream(), media_type="text/event-stream")
    message = {"role": "assistant", "content": "".join(WORDS)}
    usage = {"prompt_tokens": 8, "completion_tokens": 16, "total_tokens": 24}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return JSONResponse({**HEAD, "object": "chat.completion", "choices": [choice], "usage": usage})


async def models(_: Request) -> Response:
    """GET /v1/models."""
    return JSONResponse({"object": "list", "data": [{"id": "bench", "object": "model"}]})


async def health(_: Request) -> Response:
    """GET /health."""
    return Response()


if __name__ == "__main__":
    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/models", models),
        Route("/health", health),
    ]
    uvicorn.run(Starlette(routes=routes), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
