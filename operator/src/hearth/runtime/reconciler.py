"""One pass over one resource: observe, plan, perform. Level-triggered: it does not matter what woke it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from hearth.api.base import Json
from hearth.kube.cache import WatchCache
from hearth.kube.errors import ApiError
from hearth.kube.events import Recorder
from hearth.kube.executor import ABOUT_THE_SERVER, Executor, events_of
from hearth.kube.lookups import Lookups
from hearth.kube.problems import Problem, event_of, internal_error, paused, reference_refused, without_plan
from hearth.plan.world import ObjectKey, Plan, World

log = logging.getLogger(__name__)

PAUSE_ANNOTATION = "hearth.dev/reconcile"


class PlanError(Exception):
    """A plan raised: a bug, told in the resource's status and tried again ever more slowly."""


class RefusedError(Exception):
    """What a plan needs cannot be read, or some action of it not be performed, for now; the status says why."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did."""

    writes: int = 0
    skipped: int = 0
    look_again: float | None = None
    """Seconds after which to look again unasked."""


class Reconciler:
    """Runs plans."""

    def __init__(
        self,
        cache: WatchCache,
        lookups: Lookups,
        executor: Executor,
        recorder: Recorder,
        clock: Callable[[], datetime],
    ) -> None:
        self._cache = cache
        self._lookups = lookups
        self._executor = executor
        self._recorder = recorder
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Pass:
        """Brings one resource closer to what its plan wants.

        Raises `PlanError`, `RefusedError`, `ApiError` and `ConnectionFailedError`: each time the key should come back.
        """
        await self._tell_owed(key)
        owner = self._cache.store.get(key)
        if owner is None or owner["metadata"].get("deletionTimestamp"):
            return Pass()  # the garbage collector removes the children
        if (owner["metadata"].get("annotations") or {}).get(PAUSE_ANNOTATION) == "disabled":
            return Pass(writes=await self._executor.write_status(owner, paused(owner, self._clock())))
        related = await self._related(owner, key)
        world = self._cache.observe(key, related)
        if world is None or _is_another(world.owner, owner):
            return Pass()  # it changed while the answers were on their way, which has woken it
        plan = await self._plan(key, world)
        outcome = await self._executor.execute(world.owner, plan)
        events = events_of(plan, outcome.problems)
        if outcome.writes and events:
            # A converged resource is silent, so events travel only with a change.
            await self._recorder.tell(world.owner, events)
        if outcome.problems:
            raise RefusedError("; ".join(problem.message for problem in outcome.problems))
        return Pass(outcome.writes, outcome.skipped, self._look_again(plan, related))

    async def _tell_owed(self, key: ObjectKey) -> None:
        events = self._executor.owed(key)
        if events and (owner := self._cache.store.get(key)) is not None:
            await self._recorder.tell(owner, events)

    async def _related(self, owner: Json, key: ObjectKey) -> dict[ObjectKey, Json | None]:
        try:
            needs = self._cache.needs_of(key, owner)
        except Exception as error:  # any bug in a kind's code is told, and stops no other
            raise await self._report(owner, error) from error
        try:
            return await self._lookups.related(needs)
        except ApiError as error:
            if error.code in ABOUT_THE_SERVER or _is_another(self._cache.store.get(key), owner):
                raise
            refused = reference_refused(error.message)
            await self._tell(owner, refused)
            raise RefusedError(refused.message) from error

    async def _plan(self, key: ObjectKey, world: World) -> Plan:
        try:
            return self._cache.kinds[key.kind].plan(world, self._clock())
        except Exception as error:
            raise await self._report(world.owner, error) from error

    async def _report(self, owner: Json, error: Exception) -> PlanError:
        await self._tell(owner, internal_error(error))
        return PlanError(f"{type(error).__name__}: {error}")

    async def _tell(self, owner: Json, problem: Problem) -> None:
        """Tells why nothing could be planned, in the status that stands."""
        events = (event_of(problem),)
        if await self._executor.write_status(owner, without_plan(owner, problem, self._clock()), events):
            await self._recorder.tell(owner, events)

    def _look_again(self, plan: Plan, related: dict[ObjectKey, Json | None]) -> float | None:
        planned = plan.look_again.total_seconds() if plan.look_again is not None else None
        delays = [d for d in (planned, self._lookups.ask_again_in(related)) if d is not None]
        return min(delays, default=None)


def _is_another(owner: Json | None, before: Json) -> bool:
    """Whether anything but the version differs: what was asked for the former one may say nothing about this one."""
    if owner is None:
        return True
    version = before["metadata"].get("resourceVersion")
    return {**owner, "metadata": {**owner["metadata"], "resourceVersion": version}} != before
