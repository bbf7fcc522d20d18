"""A watch that reads in batches: nothing is read while it gathers, and reading always goes on."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hearth.kube import gathering


class Transport:
    """Notes what is asked of it."""

    def __init__(self, closing: bool = False) -> None:
        self.asked: list[str] = []
        self.closing = closing

    def pause_reading(self) -> None:
        self.asked.append("pause")

    def resume_reading(self) -> None:
        self.asked.append("resume")

    def is_closing(self) -> bool:
        return self.closing


class TlsTransport(Transport):
    def set_read_buffer_limits(self, high: int, low: int) -> None:
        self.asked.append(f"limits {high} {low}")


def answer(transport: Transport | None) -> Any:
    return SimpleNamespace(connection=None if transport is None else SimpleNamespace(transport=transport))


async def gather(transport: Transport | None, seconds: float = 0.0) -> None:
    with patch.object(gathering, "GATHER", seconds):
        await gathering.gather(answer(transport))


async def test_nothing_is_read_while_lines_gather() -> None:
    transport = Transport()
    await gather(transport)
    assert transport.asked == ["pause", "resume"]


async def test_an_answer_that_has_ended_is_not_waited_for() -> None:
    await gather(None, seconds=3600.0)


async def test_a_connection_that_closed_meanwhile_is_left_alone() -> None:
    transport = Transport(closing=True)
    await gather(transport)
    assert transport.asked == ["pause"]


async def test_a_watch_that_is_stopped_while_it_gathers_lets_go() -> None:
    transport = Transport()
    task = asyncio.create_task(gather(transport, seconds=3600.0))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.asked == ["pause", "resume"]  # closing a TLS connection reads what the other side still says


def test_only_tls_keeps_a_buffer_of_its_own() -> None:
    plain, tls = Transport(), TlsTransport()
    for transport in (plain, tls):
        gathering.hold_at_the_socket(answer(transport))
    assert plain.asked == []
    assert tls.asked == ["limits 1 0"]
