"""Keeps a step that takes seconds from being announced: each announcement is a write to the API server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hearth.api.base import Json
from hearth.plan.world import Plan, World

QUIET = timedelta(seconds=10)
"""As often as people can use news of progress (the API conventions of this project: at most every ten seconds)."""

LONGEST = timedelta(seconds=60)
"""A resource whose pods do not come, or keep coming, is spoken of after this time at the latest."""


def settle(world: World, made: Plan, now: datetime) -> Plan:
    """The plan, with its status held back while the resource is Reconciling before and after, and a pod is new.

    A resource that becomes Ready within seconds then costs two status writes: that it has begun, and that it is Ready.
    """
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation")
    under_way = _reconciling(live) and _reconciling(made.status) and live.get("observedGeneration") == generation
    left = _quiet_until(world) - now
    if not under_way or left <= timedelta(0):
        return made
    wait = left if made.look_again is None else min(left, made.look_again)
    return replace(made, status=live, events=(), look_again=wait)


def _reconciling(status: Json) -> bool:
    return any(c["type"] == "Reconciling" and c["status"] == "True" for c in status.get("conditions", []))


def _quiet_until(world: World) -> datetime:
    child = _newest(world.children)
    if not world.pods and any(c["kind"] in ("Deployment", "StatefulSet", "Job") for c in world.children):
        return child + LONGEST  # its controller has not come to it yet: there is nothing to tell
    return min(max(child, _newest(world.pods)) + QUIET, child + LONGEST)


def _newest(objects: Iterable[Json]) -> datetime:
    born = [o["metadata"]["creationTimestamp"] for o in objects if o["metadata"].get("creationTimestamp")]
    return max((datetime.fromisoformat(t) for t in born), default=datetime.fromtimestamp(0, UTC))
