"""The work queue: keys, not events. A key waits at most once, is worked on by one worker at a time, and comes back
later and later the more often it fails.

The semantics are those of client-go's rate-limiting workqueue; full jitter is added, and the cap is 300 s.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from hearth.kube.retry import Backoff
from hearth.plan.world import ObjectKey

FAILURES = Backoff(first=0.005, cap=300.0)
"""First and longest delay after failures in a row, in seconds."""

REST = 1.0
"""Shortest time, in seconds, between a pass over a key and the next one for want of anything urgent: Kubernetes reports
on one rollout in a dozen steps.
"""

AFTER_CHANGE = 1.0
"""Longest delay, in seconds, after a failure during which the object or its surroundings changed."""

OVERTAKEN = 64
"""Due times that earlier ones have overtaken are swept out once they are so many, and more than half of all: one that
lies days ahead would stay as long, and each pass over its key adds another.
"""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Figures for the metrics. Seconds."""

    depth: int
    """Keys that are due and wait for a worker."""
    waiting: int
    """Keys whose time has not come."""
    in_work: int
    oldest_age: float
    """How long the oldest due key has been waiting."""


class WorkQueue:
    """A coalescing queue of keys with due times. Not thread-safe: for one event loop."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        backoff: Backoff = FAILURES,
        rest: float = REST,
    ) -> None:
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads retries in time
        self._backoff = backoff
        self._rest = rest
        self._due: dict[ObjectKey, float] = {}
        self._heap: list[tuple[float, ObjectKey]] = []
        self._in_work: set[ObjectKey] = set()
        self._dirty: dict[ObjectKey, float] = {}
        self._dirty_soon: dict[ObjectKey, float] = {}
        self._rested_since: dict[ObjectKey, float] = {}
        """When the work on a key ended, the longest ago first; forgotten once it has rested."""
        self._failures: dict[ObjectKey, int] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_due = 0.0
        self._closed = False

    def add(self, key: ObjectKey, delay: float = 0.0) -> None:
        """Makes the key due in `delay` seconds, or keeps an earlier due time."""
        due = self._clock() + delay
        if key in self._in_work:
            self._dirty[key] = min(due, self._dirty.get(key, due))
            return
        known = self._due.get(key)
        if known is None or due < known:
            self._due[key] = due
            self._push(due, key)
            self._set_alarm()

    def add_soon(self, key: ObjectKey, delay: float) -> None:
        """The same, but not before the key has rested from the last work on it."""
        now = self._clock()
        if key in self._in_work:
            self._dirty_soon[key] = min(now + delay, self._dirty_soon.get(key, now + delay))
            return
        rested = self._rested_since.get(key, -self._rest) + self._rest
        self.add(key, max(delay, rested - now))

    def pop(self) -> ObjectKey | None:
        """A due key, now in work until `done`; None if none is due."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:
                del self._due[key]
                self._in_work.add(key)
                return key
        return None

    async def get(self) -> ObjectKey | None:
        """The next due key, waiting for one; None once the queue is closed."""
        while not self._closed:
            if (key := self.pop()) is not None:
                self._set_alarm()  # another worker may take what else is due
                return key
            await self._idle_until_rung()
        return None

    def done(self, key: ObjectKey) -> None:
        """Ends the work on a key. If it was added meanwhile, it waits again."""
        self._in_work.discard(key)
        self._begin_rest(key)
        if (due := self._dirty.pop(key, None)) is not None:
            self.add(key, max(0.0, due - self._clock()))
        if (due := self._dirty_soon.pop(key, None)) is not None:
            self.add_soon(key, max(0.0, due - self._clock()))

    def failed(self, key: ObjectKey) -> float:
        """Ends the work on a key that failed and brings it back after a growing delay, which is returned."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = self._backoff.delay(failures, self._rng)
        soon = self._dirty_soon.pop(key, None)
        if self._dirty.pop(key, soon) is not None:
            # What happened meanwhile may be the cure, but an object that fails on every event must not spin.
            delay = min(delay, AFTER_CHANGE)
        self._in_work.discard(key)
        self.add(key, delay)
        return delay

    def forget(self, key: ObjectKey) -> None:
        """Forgets past failures: called after a success, and when the spec changed."""
        self._failures.pop(key, None)

    def failures(self, key: ObjectKey) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    def next_due(self) -> float | None:
        """When the next waiting key is due, by the queue's clock; None if nothing waits."""
        return min(self._due.values(), default=None)

    def state(self) -> QueueState:
        """Figures for the metrics."""
        now = self._clock()
        due = [when for when in self._due.values() if when <= now]
        return QueueState(len(due), len(self._due) - len(due), len(self._in_work), now - min(due, default=now))

    def close(self) -> None:
        """Lets every waiting `get` return None."""
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        while self._idle:
            self._wake_one()

    def _push(self, due: float, key: ObjectKey) -> None:
        heapq.heappush(self._heap, (due, key))
        if len(self._heap) > 2 * len(self._due) + OVERTAKEN:
            self._heap = [(when, waiting) for waiting, when in self._due.items()]
            heapq.heapify(self._heap)

    def _begin_rest(self, key: ObjectKey) -> None:
        now = self._clock()
        self._rested_since.pop(key, None)
        self._rested_since[key] = now
        for other, since in list(islice(self._rested_since.items(), 2)):
            if since + self._rest < now:
                del self._rested_since[other]

    async def _idle_until_rung(self) -> None:
        rung = asyncio.get_running_loop().create_future()
        self._idle.append(rung)
        self._set_alarm()
        try:
            await rung
        except asyncio.CancelledError:
            if rung in self._idle:
                self._idle.remove(rung)
            else:
                self._set_alarm()  # the key that it was rung for is another worker's now
            raise

    def _set_alarm(self) -> None:
        """Arranges that one idle worker is rung when the next key is due: one, because each wake-up of all costs more
        than many a pass.
        """
        due = self._first_due() if self._idle else None
        if due is None or self._closed or (self._alarm is not None and self._alarm_due <= due):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_due = due
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, due - self._clock()), self._ring)

    def _ring(self) -> None:
        self._alarm = None
        due = self._first_due()
        if self._idle and due is not None and due <= self._clock():
            self._wake_one()
        else:
            self._set_alarm()

    def _wake_one(self) -> None:
        while self._idle:
            rung = self._idle.popleft()
            if not rung.done():  # a worker that is being cancelled
                rung.set_result(None)
                return

    def _first_due(self) -> float | None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
