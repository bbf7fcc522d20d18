"""The machinery over an API server in memory, with a clock that only moves when told."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fake_api import FakeApi
from hearth.api.base import Json
from hearth.kube.api import Selection, WatchEvent
from hearth.kube.cache import MANAGED_BY, MANAGER, SELECTOR, WatchCache
from hearth.kube.events import Recorder
from hearth.kube.executor import Executor
from hearth.kube.lookups import WATCHED_METADATA, Lookups
from hearth.kube.queue import WorkQueue
from hearth.kube.reflector import relist, resync
from hearth.kube.resources import APPLIED, FOLLOWED, ResourceTable, hearth_resource
from hearth.plan.settings import Settings
from hearth.plan.world import KindPlan, ObjectKey, key_of
from hearth.runtime.metrics import Metrics
from hearth.runtime.reconciler import Reconciler
from hearth.runtime.wake import Waker
from hearth.runtime.workers import Workers
from widget import KIND_PLAN, SETTINGS

SOON = 5.0
"""Seconds: what is due later than that is no longer part of settling."""


class Clock:
    """Time that stands still."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


class Machine:
    """One operator process: a cache, a queue, an executor. `api` outlives it."""

    def __init__(
        self,
        api: FakeApi,
        kinds: Sequence[KindPlan] = (KIND_PLAN,),
        clock: Clock | None = None,
        settings: Settings = SETTINGS,
    ) -> None:
        self.api, self.clock = api, clock or Clock()
        self.queue = WorkQueue(self.clock.monotonic, random.Random(1))
        self.cache = WatchCache(kinds, settings, Waker(self.queue))
        custom = [hearth_resource(kind.kind, kind.plural) for kind in kinds]
        table = ResourceTable(custom)
        self.lookups = Lookups(api, table, self.cache, self.clock.monotonic)
        self.executor = Executor(api, table, self.cache, self.clock.now)
        recorder = Recorder(api, "test", self.clock.now)
        self.reconciler = Reconciler(self.cache, self.lookups, self.executor, recorder, self.clock.now)
        self.workers = Workers(self.queue, self.reconciler, Metrics(), 1)
        children = [Selection(resource, labels=SELECTOR) for resource in (*APPLIED, *FOLLOWED)]
        self.watched = [*children, *(Selection(resource) for resource in custom)]

    async def relist(self) -> None:
        """Fills the cache as a start does."""
        for what in self.watched:
            await relist(self.api, what, self.cache)

    async def resync(self) -> int:
        """Mends the cache as the periodic resync does."""
        mended = sum([await resync(self.api, what, self.cache) for what in self.watched])
        self.lookups.forget_all()
        return mended

    def see(self, event: WatchEvent) -> None:
        """Takes in what the watches would deliver for a change on the server."""
        obj, key = event.object, key_of(event.object)
        is_ours = obj["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER or key.kind in self.cache.kinds
        if event.type == "DELETED" or not is_ours:
            # A watch by label tells of a deletion when the label is taken off.
            self.cache.remove(key, obj["metadata"]["uid"])
        else:
            self.cache.put(obj)
        if key.kind in {resource.kind for resource in WATCHED_METADATA} and not is_ours:
            if event.type == "DELETED":
                self.lookups.remove(key, obj["metadata"]["uid"])
            else:
                self.lookups.put(obj)

    async def settle(self, passes: int = 200) -> int:
        """Works on every key until none waits, moving the clock; returns the number of passes."""
        for done in range(passes):
            due = self.queue.next_due()
            if due is None or due > self.clock.seconds + SOON:
                return done
            self.clock.seconds = max(self.clock.seconds, due)
            key = self.queue.pop()
            assert key is not None
            await self.workers.work_on(key)
        raise AssertionError(f"not settled after {passes} passes")

    async def converge(self) -> None:
        """Resync and work until nothing is left to do."""
        await self.resync()
        await self.settle()

    def live(self, kind: str, name: str, namespace: str = "default") -> Json:
        return self.api.live(ObjectKey(kind, namespace, name))
