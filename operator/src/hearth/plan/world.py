"""The values a plan is made of: what is seen, and what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from sys import intern
from typing import Literal, NamedTuple

from hearth.api.base import Json
from hearth.plan.settings import Settings


class ObjectKey(NamedTuple):
    """Names one object. `namespace` is empty for cluster-scoped kinds.

    A tuple, because every index of the cache and the queue hashes and compares keys all the time.
    """

    kind: str
    namespace: str
    name: str


def key_of(obj: Json) -> ObjectKey:
    """The key of a decoded object."""
    meta = obj["metadata"]
    # Ten thousand keys share a dozen kinds and a few namespaces.
    return ObjectKey(intern(obj["kind"]), intern(meta.get("namespace", "")), meta["name"])


def controller_of(obj: Json) -> Json | None:
    """The controller owner reference, if the object has one."""
    return next((r for r in obj["metadata"].get("ownerReferences") or () if r.get("controller")), None)


def is_observed(workload: Json) -> bool:
    """Whether the controller of a Deployment or StatefulSet has seen what is asked of it."""
    observed: int = workload.get("status", {}).get("observedGeneration", 0)
    asked: int = workload["metadata"].get("generation", 0)
    return observed >= asked


@dataclass(frozen=True, slots=True)
class World:
    """Everything one decision may look at. Two equal worlds give equal plans.

    `related` answers exactly the keys that the kind's `needs` asked for: the object, or None where it does not exist.
    """

    owner: Json
    settings: Settings
    children: tuple[Json, ...] = ()
    """Live objects with a controller owner reference to `owner`'s uid."""
    pods: tuple[Json, ...] = ()
    """Live pods that `children` (Jobs, ReplicaSets of Deployments, StatefulSets) control."""
    replica_sets: tuple[Json, ...] = ()
    """ReplicaSets of `children`'s Deployments: whose they are and of which revision, which tells old pods from new."""
    related: Mapping[ObjectKey, Json | None] = field(default_factory=dict)
    dependents: tuple[Json, ...] = ()
    """Other Hearth resources of the namespace that refer to `owner`."""
    nodes: tuple[Json, ...] = ()
    """Nodes: metadata.labels, spec.taints, spec.unschedulable, status.allocatable and status.conditions only."""
    storage_classes: tuple[Json, ...] = ()
    """Every StorageClass."""
    progress: Json | None = None
    """The newest progress message that a pod of `owner` pushed, with `receivedAt` (RFC 3339)."""

    def child(self, kind: str, name: str) -> Json | None:
        """The live child of this kind and name, if there is one."""
        return next((c for c in self.children if c["kind"] == kind and c["metadata"]["name"] == name), None)

    def pods_labelled(self, name: str, value: str) -> tuple[Json, ...]:
        """Pods that carry the label."""
        return tuple(p for p in self.pods if p["metadata"].get("labels", {}).get(name) == value)


@dataclass(frozen=True, slots=True)
class Apply:
    """Server-side apply of a child, forced, as field manager `hearth/children`; skipped when nothing would change.

    The executor adds the controller owner reference, the namespace and the managed-by label.
    """

    obj: Json
    owned: bool = True
    """Whether the child goes with its owner. A child that does not has no owner reference: it is found again by its
    name and labels, also by a later owner of the same kind and name (volumes with a user's data)."""


@dataclass(frozen=True, slots=True)
class Delete:
    """Deletion of a child, with its uid as precondition."""

    key: ObjectKey
    uid: str
    propagation: Literal["Background", "Foreground", "Orphan"] = "Background"


Action = Apply | Delete


@dataclass(frozen=True, slots=True)
class Event:
    """An `events.k8s.io/v1` Event about the owner; equal ones are aggregated into a series."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str
    action: str = "Reconcile"


@dataclass(frozen=True, slots=True)
class Plan:
    """A decision: children to write, the whole status to be, events to tell, and when to look again unasked."""

    status: Json
    actions: tuple[Action, ...] = ()
    events: tuple[Event, ...] = ()
    look_again: timedelta | None = None
    status_first: bool = False
    """The status carries a promise (such as `startTime`) that must be on record before the first child exists."""


@dataclass(frozen=True, slots=True)
class KindPlan:
    """One custom resource kind: what its decisions need to see, and the decision itself. Both pure."""

    kind: str
    plural: str
    needs: Callable[[Json], frozenset[ObjectKey]]
    """Objects outside the owner's children that `plan` looks at for this owner in its present state."""
    refers_to: Callable[[Json], frozenset[ObjectKey]]
    """Hearth resources that the spec names: a change of one of them reconciles this owner."""
    plan: Callable[[World, datetime], Plan]
