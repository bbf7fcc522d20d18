"""How far a Deployment is: whether the pods of its newest template are all there, and the old ones gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hearth.api.base import Json
from hearth.plan.seen import REVISION
from hearth.plan.world import World, controller_of, is_observed
from hearth.render.vllm import TEMPLATE_HASH


@dataclass(frozen=True, slots=True)
class Progress:
    """A Deployment's rollout. `wanted`, `updated`, `available` and `total` count pods."""

    wanted: int
    updated: int
    available: int
    total: int
    current: bool
    """The live object is what the plan wants, and its controller has seen it."""
    deadline_exceeded: bool

    @property
    def done(self) -> bool:
        """All pods are of the newest template, answer, and no other is left."""
        return self.current and self.updated == self.wanted == self.total and self.available >= self.wanted

    def describe(self) -> str:
        """`1 of 2 new pods, 2 answering`."""
        return f"{self.updated} of {self.wanted} pods are of the newest revision, {self.available} answer"


def same_template(live: Json, desired: Json) -> bool:
    """Whether the live Deployment has the pod template that is wanted."""
    hashed: object = live["metadata"].get("annotations", {}).get(TEMPLATE_HASH)
    wanted: object = desired["metadata"]["annotations"][TEMPLATE_HASH]
    return hashed == wanted


def newest_pods(world: World, live: Json | None, pods: Iterable[Json]) -> list[Json]:
    """Those of a Deployment's pods that tell how its newest template does: not of an earlier one, and not over.

    An old pod that cannot run stays until a new one answers, and what was evicted stays until somebody removes it:
    neither says anything about the template that is rolled out now.
    """
    if live is None or not live.get("status", {}).get("updatedReplicas"):
        return []  # the first pod of a template is counted there; the newest ones known are those before it
    ours = [r for r in world.replica_sets if _controller_uid(r) == live["metadata"]["uid"]]
    newest = max((_revision(r) for r in ours), default=0)
    old = {r["metadata"]["uid"] for r in ours if _revision(r) < newest}
    return [p for p in pods if _controller_uid(p) not in old and not is_over(p)]


def is_behind(live: Json | None, desired: Json | None) -> bool:
    """Whether what a Deployment's status tells may be about an earlier template than the one that is wanted.

    `desired` is None where that is not known.
    """
    if live is None or (desired is not None and not same_template(live, desired)):
        return True
    return not is_observed(live)


def _controller_uid(obj: Json) -> str | None:
    controller = controller_of(obj)
    return None if controller is None else controller["uid"]


def _revision(replica_set: Json) -> int:
    counted = str((replica_set["metadata"].get("annotations") or {}).get(REVISION, ""))
    return int(counted) if counted.isdigit() else 0


def is_over(pod: Json) -> bool:
    """Whether no container of the pod runs or will run again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def progress(live: Json | None, desired: Json) -> Progress:
    """The progress of `live` towards `desired`."""
    wanted = int(desired["spec"]["replicas"])
    if live is None:
        return Progress(wanted, 0, 0, 0, current=False, deadline_exceeded=False)
    status = live.get("status", {})
    same = same_template(live, desired)
    current = same and live["spec"].get("replicas") == wanted and is_observed(live)
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    return Progress(
        wanted=wanted,
        updated=status.get("updatedReplicas", 0) if current else 0,
        available=status.get("availableReplicas", 0),
        total=status.get("replicas", 0),
        current=current,
        deadline_exceeded=same and conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded",
    )
