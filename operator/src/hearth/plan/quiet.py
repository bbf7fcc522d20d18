"""Keeps a step that takes seconds from being announced: each announcement is a write to the API server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.plan.world import Plan, World

QUIET = timedelta(seconds=10)
"""As often as people can use news of progress (the API conventions of this project: at most every ten seconds)."""


def settle(world: World, made: Plan, now: datetime) -> Plan:
    """The plan, with its status held back while the resource is Reconciling before and after, and a child is new.

    A resource that becomes Ready within seconds then costs two status writes: that it has begun, and that it is Ready.
    """
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation")
    under_way = _reconciling(live) and _reconciling(made.status) and live.get("observedGeneration") == generation
    if not under_way:
        return made
    left = _newest_child(world) + QUIET - now
    if left <= timedelta(0):
        return made
    wait = left if made.look_again is None else min(left, made.look_again)
    return replace(made, status=live, events=(), look_again=wait)


def _reconciling(status: Json) -> bool:
    return any(c["type"] == "Reconciling" and c["status"] == "True" for c in status.get("conditions", []))


def _newest_child(world: World) -> datetime:
    born = [c["metadata"]["creationTimestamp"] for c in world.children if c["metadata"].get("creationTimestamp")]
    born += [p["metadata"]["creationTimestamp"] for p in world.pods if p["metadata"].get("creationTimestamp")]
    times = [datetime.fromisoformat(t) for t in born]
    return max(times, default=datetime.fromisoformat("1970-01-01T00:00:00+00:00"))
