"""How far a Deployment is: whether the pods of its newest template are all there, and the old ones gone."""

from __future__ import annotations

from dataclasses import dataclass

from hearth.api.base import Json
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


def progress(live: Json | None, desired: Json) -> Progress:
    """The progress of `live` towards `desired`."""
    wanted = int(desired["spec"]["replicas"])
    if live is None:
        return Progress(wanted, 0, 0, 0, current=False, deadline_exceeded=False)
    status = live.get("status", {})
    metadata = live["metadata"]
    same = same_template(live, desired) and live["spec"].get("replicas") == wanted
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    return Progress(
        wanted=wanted,
        updated=status.get("updatedReplicas", 0) if same and seen else 0,
        available=status.get("availableReplicas", 0),
        total=status.get("replicas", 0),
        current=same and seen,
        deadline_exceeded=same and conditions.get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded",
    )
