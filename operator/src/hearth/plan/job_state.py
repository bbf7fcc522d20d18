"""How a Job and its pods stand, read from their statuses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from hearth.api.base import Json
from hearth.plan.pod_trouble import result_of
from hearth.plan.world import World

FAILED = ("Failed", "FailureTarget")
"""FailureTarget comes first: the Job has failed, and its pods are on their way out."""


def pods_of(world: World, job: str) -> list[Json]:
    """The pods of the Job of this name, the newest first."""
    found = world.pods_labelled("batch.kubernetes.io/job-name", job)
    return sorted(found, key=lambda p: str(p["metadata"].get("creationTimestamp", "")), reverse=True)


def has(job: Json | None, *kinds: str) -> bool:
    """Whether one of these conditions is True."""
    return _first(job, kinds) is not None


def ended(job: Json | None) -> bool:
    """Whether no pod of the Job will come any more, for better or worse."""
    return has(job, "Complete", *FAILED)


def since(job: Json | None, *kinds: str) -> datetime | None:
    """When the first of these conditions that is True became so."""
    found = _first(job, kinds)
    return None if found is None else datetime.fromisoformat(found["lastTransitionTime"])


def reason_of_failure(job: Json) -> Json:
    """The condition that says why the Job failed; empty where it did not."""
    return _first(job, FAILED) or {}


def told(pods: Iterable[Json], container: str, key: str) -> Json | None:
    """The `result` or the `error`, by `key`, of the first of the pods whose container left one."""
    return next((said[key] for p in pods if (said := result_of(p, container)) and key in said), None)


def end_of(pod: Json, container: str) -> Json | None:
    """How the container ended; None while it has not."""
    statuses = pod.get("status", {})
    for status in [*statuses.get("initContainerStatuses", []), *statuses.get("containerStatuses", [])]:
        if status["name"] == container:
            ended: Json | None = status.get("state", {}).get("terminated")
            return ended
    return None


def out_of_memory(pod: Json, container: str) -> bool:
    """Whether the kernel ended the container for its memory limit, or an allocator gave up in it."""
    ended = end_of(pod, container)
    if ended is None:
        return False
    error: Json = (result_of(pod, container) or {}).get("error", {})
    return ended.get("reason") == "OOMKilled" or error.get("class") == "OutOfMemory"


def memory_limit(pod: Json, container: str) -> str:
    """The container's memory limit as its pod has it."""
    made = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    found: Json = next((c for c in made if c["name"] == container), {})
    return str(found.get("resources", {}).get("limits", {}).get("memory", "unknown"))


def _first(job: Json | None, kinds: Sequence[str]) -> Json | None:
    conditions: list[Json] = (job or {}).get("status", {}).get("conditions", [])
    return next((c for c in conditions if c["type"] in kinds and c["status"] == "True"), None)
