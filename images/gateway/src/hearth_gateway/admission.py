"""Back-pressure and draining: how many requests are in flight, what they hold, and whether new ones are welcome."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hearth_gateway.errors import ApiError, overloaded, too_large
from hearth_gateway.metrics import Metrics

PROCESS_BYTES = 128 * 2**20
"""What the process takes without a request: 49 MiB resident, 122 MiB with pymilvus."""

LEAST_BYTES = 16 * 2**20
"""The budget under a limit that leaves none: the kernel may end such a pod, but it answers until then."""

REQUEST_BYTES = 64 * 2**10
"""One request in flight without its body: tasks, connections and buffers of both sides."""


def request_budget(limit: int) -> int:
    """Bytes that requests may hold together in a process that may take `limit` bytes.

    A quarter of what the process leaves stays free, for what Python's allocators do not give back at once.
    """
    return max(LEAST_BYTES, (limit - PROCESS_BYTES) * 3 // 4)


class Admission:
    """Counts requests in flight and the bytes they hold. Used from one event loop, so no lock is needed."""

    def __init__(self, limit: int, budget: int, metrics: Metrics) -> None:
        self._limit, self.budget, self._metrics = limit, budget, metrics
        self._in_flight = 0
        self.held = 0
        self._typical_seconds = 1.0
        self.draining = False

    @property
    def in_flight(self) -> int:
        """Requests being worked on."""
        return self._in_flight

    @contextmanager
    def slot(self) -> Iterator[Place]:
        """Room for one request. Raises ApiError (429) where there is none."""
        if self._in_flight >= self._limit:
            raise self.full(f"{self._in_flight} requests are in flight, which is this service's limit", "overloaded")
        place = Place(self)
        place.hold(0)
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        begun = time.monotonic()
        try:
            yield place
        finally:
            place.leave()
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            if not place.refused:
                self._typical_seconds += 0.1 * (time.monotonic() - begun - self._typical_seconds)

    def full(self, message: str, reason: str) -> ApiError:
        """The refusal. Retry-After is the typical time of a request: by then there should be room."""
        self._metrics.rejected.labels(reason).inc()
        return overloaded(message, max(1, min(60, math.ceil(self._typical_seconds))))


class Place:
    """One request's part of the budget."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0
        self.refused = False

    def hold(self, size: int) -> None:
        """Says what the request takes from now on, in bytes. Raises ApiError: 429 (no room now), 413 (never)."""
        wanted, room = size + REQUEST_BYTES, self._admission.budget
        beside = self._admission.held - self._held
        self.refused = wanted > self._held and beside + wanted > room
        if self.refused and wanted > room:
            raise too_large(
                f"reading this request may take {_mebibytes(wanted)} of memory, and the gateway has "
                f"{_mebibytes(room)} for all: make it smaller, or raise gateway.resources.limits.memory"
            )
        if self.refused:
            told = f"the other requests in flight take {_mebibytes(beside)} of the gateway's {_mebibytes(room)}"
            raise self._admission.full(told, "memory")
        self._admission.held = beside + wanted
        self._held = wanted

    def leave(self) -> None:
        """Gives everything back."""
        self._admission.held -= self._held
        self._held = 0


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
