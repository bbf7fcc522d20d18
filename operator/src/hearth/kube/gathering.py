"""Reads what a watch tells in batches: to be woken, to decrypt and to parse costs more than to decode a line."""

from __future__ import annotations

import asyncio

import aiohttp

GATHER = 0.2
"""Seconds for which a watch gathers lines after it has delivered some. A line after a while of silence is delivered at
once.
"""
PLENTY = 65_536
"""Bytes after which there is nothing to wait for: more has come already."""


def hold_at_the_socket(response: aiohttp.ClientResponse) -> None:
    """Makes a pause of reading reach down to the socket.

    Below TLS, asyncio and uvloop go on reading into a buffer of 256 KiB otherwise, and are woken for every packet.
    """
    limit = getattr(_transport(response), "set_read_buffer_limits", None)  # of TLS transports only
    if limit is not None:
        limit(1, 0)


async def gather(response: aiohttp.ClientResponse) -> None:
    """Leaves what comes in meanwhile to the kernel."""
    transport = _transport(response)
    if transport is None:
        return  # the answer has ended
    transport.pause_reading()
    try:
        await asyncio.sleep(GATHER)
    finally:
        if not transport.is_closing():
            transport.resume_reading()


def _transport(response: aiohttp.ClientResponse) -> asyncio.Transport | None:
    connection = response.connection
    return connection.transport if connection is not None else None
