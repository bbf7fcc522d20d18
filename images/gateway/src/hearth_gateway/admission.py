"""Back-pressure and draining: how many requests are in flight, and whether new ones are welcome."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hearth_gateway.errors import overloaded
from hearth_gateway.metrics import Metrics


class Admission:
    """Counts requests in flight. Used from one event loop, so no lock is needed."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self._in_flight = 0
        self._typical_seconds = 1.0
        self.draining = False

    @property
    def in_flight(self) -> int:
        """Requests being worked on."""
        return self._in_flight

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Room for one request. Raises ApiError (429) where there is none.

        Retry-After is the typical time of a request: by then a place should be free.
        """
        if self._in_flight >= self._limit:
            self._metrics.rejected.labels("overloaded").inc()
            wait = max(1, min(60, math.ceil(self._typical_seconds)))
            raise overloaded(f"{self._in_flight} requests are in flight, which is this service's limit", wait)
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        begun = time.monotonic()
        try:
            yield
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            self._typical_seconds += 0.1 * (time.monotonic() - begun - self._typical_seconds)
