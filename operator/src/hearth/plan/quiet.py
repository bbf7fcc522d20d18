"""Keeps a step that takes a while from being announced: each announcement is a write to the API server.

What is held back are words about the way: a reason, a message, how many replicas have come. A status that is not held
back tells that the way begins, that it ends, or that somebody has to do something. Nothing may be held back that is
known from nowhere else (`hearth.plan.engine_record`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hearth.api.base import Json
from hearth.plan.world import Action, Apply, Plan, World

WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job"})

QUIET = timedelta(seconds=10)
"""As often as people can use news of progress (the API conventions of this project: at most every ten seconds)."""

LONGEST = timedelta(seconds=60)
"""A resource whose pods do not come, or keep coming, is spoken of after this time at the latest."""

BACKLOG = timedelta(minutes=3)
"""The same for pods that no kubelet has: controllers and scheduler have a thousand resources to go through."""


def settle(made: Plan, world: World, now: datetime, quiet_until: datetime) -> Plan:
    """The plan, with its status held back until then while the resource is Reconciling before and after.

    A resource that becomes Ready meanwhile costs two status writes: that it has begun, and that it is Ready.
    """
    live = world.owner.get("status", {})
    generation = world.owner["metadata"].get("generation")
    under_way = _reconciling(live) and _reconciling(made.status) and live.get("observedGeneration") == generation
    left = quiet_until - now
    if not under_way or left <= timedelta(0):
        return made
    wait = left if made.look_again is None else min(left, made.look_again)
    return replace(made, status=live, events=(), look_again=wait)


def while_pods_are_new(world: World) -> datetime:
    """Until nothing has been made for a while."""
    child = _newest(world.children)
    if not world.pods and any(c["kind"] in WORKLOADS for c in world.children):
        return child + LONGEST  # its controller has not come to it yet: there is nothing to tell
    return min(max(child, _newest(world.pods)) + QUIET, child + LONGEST)


def while_pods_are_made(world: World, actions: Iterable[Action], now: datetime) -> datetime:
    """Until a kubelet has worked for a while on a pod that is not ready, or Kubernetes has not come so far for long.

    `actions`: what is about to be done. A workload that it makes is the newest child.
    """
    begun = [_moment(p["status"]["startTime"]) for p in world.pods if _is_starting(p)]
    newest = now if any(_makes_pods(world, action) for action in actions) else _newest(world.children)
    return min([*(b + QUIET for b in begun), newest + BACKLOG])


def _makes_pods(world: World, action: Action) -> bool:
    if not isinstance(action, Apply) or action.obj["kind"] not in WORKLOADS:
        return False
    return world.child(action.obj["kind"], action.obj["metadata"]["name"]) is None


def _is_starting(pod: Json) -> bool:
    status = pod.get("status", {})
    done = status.get("phase") in ("Succeeded", "Failed") or "deletionTimestamp" in pod["metadata"]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
    return "startTime" in status and not done and not ready


def _reconciling(status: Json) -> bool:
    return any(c["type"] == "Reconciling" and c["status"] == "True" for c in status.get("conditions", []))


def _newest(objects: Iterable[Json]) -> datetime:
    born = [o["metadata"]["creationTimestamp"] for o in objects if o["metadata"].get("creationTimestamp")]
    return max((_moment(t) for t in born), default=datetime.fromtimestamp(0, UTC))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
