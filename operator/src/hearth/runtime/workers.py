"""The workers: a fixed number of tasks that take keys from the queue and reconcile them."""

from __future__ import annotations

import asyncio
import logging
import time

from hearth.kube.errors import ApiError, ConflictError, ConnectionFailedError
from hearth.kube.queue import WorkQueue
from hearth.plan.world import ObjectKey
from hearth.runtime.metrics import Metrics
from hearth.runtime.reconciler import Pass, PlanError, Reconciler, RefusedError

log = logging.getLogger(__name__)

SURROUNDINGS_DELAY = 0.1
"""Seconds by which a change around a resource waits for others: one rollout of a child sends a dozen of them."""


class Workers:
    """Runs `count` workers until the queue is closed."""

    def __init__(self, queue: WorkQueue, reconciler: Reconciler, metrics: Metrics, count: int) -> None:
        self._queue = queue
        self._reconciler = reconciler
        self._metrics = metrics
        self._count = count
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts the workers."""
        self._tasks = [asyncio.create_task(self._run(), name=f"worker-{n}") for n in range(self._count)]

    @property
    def alive(self) -> int:
        """How many workers still run: `count`, or something is wrong."""
        return sum(not task.done() for task in self._tasks)

    async def stop(self, grace: float) -> None:
        """Lets the passes under way finish, for up to `grace` seconds, and takes no new keys."""
        self._queue.close()
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=grace)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while (key := await self._queue.get()) is not None:
            await self.work_on(key)
            await asyncio.sleep(0)  # a pass that writes nothing never waits: watches and probes need their turn

    async def work_on(self, key: ObjectKey) -> None:
        """One pass over one key, whatever comes of it."""
        started = time.monotonic()
        error: Exception | None = None
        try:
            self._succeeded(key, await self._reconciler.reconcile(key))
        except Exception as caught:  # noqa: BLE001 - the supervisor: one resource must not stop the others
            error = caught
            self._failed(key, caught)
        self._metrics.reconciled(key.kind, time.monotonic() - started, error)

    def _succeeded(self, key: ObjectKey, done: Pass) -> None:
        self._metrics.skipped_writes(key.kind, done.skipped)
        self._queue.forget(key)
        self._queue.done(key)
        if done.look_again is not None:
            self._queue.add(key, done.look_again)
        if done.writes:
            log.info("reconciled with %d writes", done.writes, extra={"object": key})

    def _failed(self, key: ObjectKey, error: Exception) -> None:
        delay = self._queue.failed(key)
        if isinstance(error, ConflictError):
            log.info("the cache was behind, trying again", extra={"object": key})
        elif isinstance(error, ApiError | ConnectionFailedError | RefusedError):
            log.warning("%s; trying again in %.1f s", error, delay, extra={"object": key})
        elif isinstance(error, PlanError):
            log.error("the plan failed: %s", error, exc_info=error.__cause__, extra={"object": key})
        else:
            log.error("unexpected error", exc_info=error, extra={"object": key})
