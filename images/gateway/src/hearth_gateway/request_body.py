"""A request's JSON on its way in and out: read within the memory there is for it, and written for the engine."""

from __future__ import annotations

import asyncio
import json
from typing import NoReturn

from starlette.requests import ClientDisconnect, Request

from hearth_gateway.admission import Place
from hearth_gateway.errors import ApiError, bad_request, gone, too_large
from hearth_gateway.policy import Body

BODY_LIMIT = 16 * 2**20
BODY_SECONDS = 60.0
"""How long a client may take to send its request: until then it has a place and a part of the memory."""

TEXT_FACTOR = 9
"""Bytes for one of JSON text while it is read. One wide character makes all text around it take four bytes a character,
in the decoded document and in the value, beside the raw bytes (CPython's PEP 393). Writing it again takes less."""

BRACKET_BYTES, COLON_BYTES, COMMA_BYTES = 192, 160, 128
"""What CPython takes at most, beside the text, for a list or an object, a key, and a further element."""


async def read_body(request: Request, place: Place) -> Body:
    """The JSON object of a request. `place` holds what it may take. Raises ApiError (400, 408, 413, 429, 499)."""
    raw = await _received(request, place)
    place.hold(reading_bytes(raw))
    try:
        body = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return body


def written(body: Body) -> bytes:
    """JSON for the engine. ASCII, which takes one byte a character, and carries halves of surrogate pairs too."""
    return json.dumps(body, separators=(",", ":")).encode()


def reading_bytes(raw: bytes | bytearray) -> int:
    """The most that reading this JSON takes, its own bytes included."""
    brackets, colons, commas = raw.count(b"{") + raw.count(b"["), raw.count(b":"), raw.count(b",")
    return TEXT_FACTOR * len(raw) + BRACKET_BYTES * brackets + COLON_BYTES * colons + COMMA_BYTES * commas


async def _received(request: Request, place: Place) -> bytearray:
    raw = bytearray()
    expected = int(request.headers.get("content-length", "0"))
    _make_room(expected, place)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > expected:
                    _make_room(len(raw), place)
    except ClientDisconnect as error:
        raise gone() from error
    except TimeoutError as error:
        raise ApiError(408, "invalid_request_error", f"the body did not come within {BODY_SECONDS:g} s") from error
    return raw


def _make_room(size: int, place: Place) -> None:
    if size > BODY_LIMIT:
        raise too_large(f"the body is larger than {BODY_LIMIT} bytes")
    place.hold(TEXT_FACTOR * size)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
