"""A pod that does not come, or does not go, and of which neither scheduler nor kubelet has said why.

The reason stands in Events then, which the operator does not read: what it can say is what to look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from hearth.api.base import Json
from hearth.plan.pod_trouble import Trouble

NO_PODS = "PodsNotCreated"
NO_POD = timedelta(seconds=60)
"""The Job controller makes the first pod in the pass in which it sets a Job's startTime."""
NOT_SEEN = timedelta(minutes=10)
"""Before it comes to a Job, it may have a thousand others to go through."""
NO_POD_AFTER_FAILURE = timedelta(minutes=11)
"""The Job controller waits up to ten minutes before another try (MaxJobPodFailureBackOff in
k8s.io/kubernetes/pkg/controller/job)."""
NOT_STARTED = timedelta(minutes=5)
"""Time for attaching volumes and pulling an image of some gigabytes."""
NEVER_STARTED = ("ImagePullFailed", "ContainerNotStarted", "VolumeMissing", NO_PODS, "PodTerminating")
"""Why a pod has not begun, until somebody does something: over, as soon as it begins."""
STILL_THERE = timedelta(minutes=5)
"""Beyond its grace period a pod stays only where its node no longer answers, or a finalizer holds it."""


@dataclass(frozen=True, slots=True)
class Delay:
    """What is overdue, if anything; else after which time something may be."""

    trouble: Trouble | None = None
    look_again: timedelta | None = None


def start_delay(job: Json, pods: Sequence[Json], now: datetime) -> Delay:
    """What keeps a Job that is neither ended nor suspended from having a pod that runs. `pods`: all that it has."""
    unfinished = [p for p in pods if p.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    if not unfinished:
        return _absent(job, pods, now)
    return run_delay(unfinished, now)


def run_delay(unfinished: Sequence[Json], now: datetime) -> Delay:
    """What keeps pods that are to run from doing so."""
    return _soonest([*(_leaving(p, now) for p in unfinished), *(_not_begun(p, now) for p in unfinished)])


def no_pod_delay(workload: Json, since: datetime, now: datetime, patience: timedelta = NO_POD) -> Delay:
    """What keeps a workload that is to have a pod from getting one, where it has none since then."""
    meta, kind = workload["metadata"], workload["kind"]
    message = (
        f"{kind} {meta['name']} gets no pod: a quota, a PriorityClass that does not exist, or an admission policy such "
        f"as Pod Security may forbid it; `kubectl -n {meta.get('namespace')} describe {kind.lower()} {meta['name']}` "
        "says which"
    )
    return _after(since + patience, Trouble(NO_PODS, message, lasting=True), now)


def stop_delay(pods: Iterable[Json], now: datetime) -> Delay:
    """What keeps pods from going that were told to."""
    return _soonest([_leaving(p, now) for p in pods])


def _soonest(delays: Sequence[Delay]) -> Delay:
    found = next((d for d in delays if d.trouble is not None), None)
    left = [d.look_again for d in delays if d.look_again is not None]
    return found or Delay(look_again=min(left, default=None))


def _absent(job: Json, pods: Sequence[Json], now: datetime) -> Delay:
    begun, made = job.get("status", {}).get("startTime"), job["metadata"].get("creationTimestamp")
    times = [datetime.fromisoformat(t) for t in (begun or made, *(_ended(p) for p in pods)) if t is not None]
    if not times:
        return Delay()
    if begun is None and not pods:
        return no_pod_delay(job, max(times), now, NOT_SEEN)
    return no_pod_delay(job, max(times), now, NO_POD_AFTER_FAILURE if pods else NO_POD)


def _ended(pod: Json) -> str:
    statuses = pod.get("status", {}).get("containerStatuses", [])
    ends = [s.get("state", {}).get("terminated", {}).get("finishedAt") for s in statuses]
    return max((e for e in ends if e), default=str(pod["metadata"]["creationTimestamp"]))


def _leaving(pod: Json, now: datetime) -> Delay:
    due = pod["metadata"].get("deletionTimestamp")
    if due is None or pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return Delay()
    name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "no node")
    message = (
        f"pod {name} on {node} was to end by {due} and is still there: its node may be lost. Where it is certain that "
        f"nothing runs there any more, `{_kubectl(pod, 'delete')} --force` lets another pod go on"
    )
    return _after(datetime.fromisoformat(due) + STILL_THERE, Trouble("PodTerminating", message, lasting=True), now)


def _not_begun(pod: Json, now: datetime) -> Delay:
    status = pod.get("status", {})
    placed = next(
        (c for c in status.get("conditions", []) if c["type"] == "PodScheduled" and c["status"] == "True"), None
    )
    states = [
        s.get("state", {}) for s in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
    ]
    begun = any("running" in state or "terminated" in state for state in states)
    if placed is None or begun or "deletionTimestamp" in pod["metadata"] or status.get("phase") == "Running":
        return Delay()
    message = (
        f"no container of pod {pod['metadata']['name']} has started since it got its node: a large image, a volume "
        f"that cannot be mounted, or a ConfigMap or Secret that is gone; `{_kubectl(pod, 'describe')}` says which"
    )
    since = datetime.fromisoformat(placed.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"])
    return _after(since + NOT_STARTED, Trouble("PodNotStarted", message, lasting=False), now)


def _kubectl(pod: Json, verb: str) -> str:
    meta = pod["metadata"]
    return f"kubectl -n {meta.get('namespace')} {verb} pod {meta['name']}"


def _after(due: datetime, trouble: Trouble, now: datetime) -> Delay:
    return Delay(trouble) if now >= due else Delay(look_again=due - now)
