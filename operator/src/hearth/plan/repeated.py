"""A failure that is being tried again stays on show until the next try is seen to get further than the last.

While something outside is away, such as a hub, every try would else take the failure back and tell it anew: two flips
of conditions and two Events each time, and nobody has done or could do anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.plan.pod_delay import NEVER_STARTED
from hearth.plan.transition import condition
from hearth.plan.world import World


def failure_on_record(world: World, kind: str) -> Json | None:
    """The `failure` of this very spec that condition `kind` tells, if the operator tries again by itself.

    A pod that could not start is no try: that is over as soon as one does.
    """
    status = world.owner.get("status", {})
    told, failure = condition(status, kind), status.get("failure", {})
    if told.get("status") != "False" or failure.get("class") != told["reason"] or not failure.get("retryable"):
        return None
    current = told.get("observedGeneration") == world.owner["metadata"].get("generation")
    return failure if current and failure["class"] not in NEVER_STARTED else None


def time_to_prove(pods: Sequence[Json], patience: timedelta, now: datetime) -> timedelta | None:
    """What is left until the newest pod has gone on for so long that it gets further; None where there is no pod."""
    since = max((_going_since(p) for p in pods), default=None)
    return None if since is None else since + patience - now


def progress_since(world: World, pods: Sequence[Json]) -> Json:
    """The figures that the newest pod has pushed; empty where it has not yet."""
    told = world.progress
    made = max((datetime.fromisoformat(p["metadata"]["creationTimestamp"]) for p in pods), default=None)
    if told is None or made is None or datetime.fromisoformat(told["receivedAt"]) < made:
        return {}
    figures: Json = told.get("metrics", {})
    return figures


def _going_since(pod: Json) -> datetime:
    """When its newest container began; pulling a large image before proves nothing."""
    status = pod.get("status", {})
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    began = [c.get("state", {}).get("running", {}).get("startedAt") for c in containers]
    return datetime.fromisoformat(max((b for b in began if b), default=pod["metadata"]["creationTimestamp"]))
