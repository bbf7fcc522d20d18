"""Which nodes a pod may run on: by their taints, their readiness and the labels that the spec asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hearth.api.base import Json
from hearth.api.shapes import PodOverrides, Scheduling, Toleration

TEMPORARY = "node.kubernetes.io/"
"""Prefix of the taints that stand for a condition: cordoned, not ready, unreachable, short of memory or disk."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which nodes a spec lets its pods run on.

    An affinity in podOverrides is not looked at: the scheduler says it where that leaves no node.
    """

    labels: Mapping[str, str]
    tolerations: Sequence[Toleration]

    def open(self, nodes: Sequence[Json]) -> list[Json]:
        """The nodes that take a pod today."""
        return [n for n in nodes if _ready(n) and self._labelled(n) and _open_to(n, self.tolerations)]

    def allowed(self, nodes: Sequence[Json]) -> list[Json]:
        """The nodes that take a pod once they are back: cordoned ones and such as are not ready are among them."""
        return [n for n in nodes if self._labelled(n) and all(_is_temporary(t) for t in _barred(n, self.tolerations))]

    def _labelled(self, node: Json) -> bool:
        labels = node["metadata"].get("labels", {})
        return all(labels.get(key) == value for key, value in self.labels.items())


def placement(
    scheduling: Scheduling | None, overrides: PodOverrides | None, more: Sequence[Toleration] = ()
) -> Placement:
    """Where pods of this spec may run. `more`: what they tolerate besides."""
    parts = [p for p in (scheduling, overrides) if p is not None]
    labels = {key: value for p in parts for key, value in (p.node_selector or {}).items()}
    return Placement(labels, [*more, *(t for p in parts for t in p.tolerations or [])])


def _open_to(node: Json, tolerations: Sequence[Toleration]) -> bool:
    """Whether the node is not cordoned and each taint that keeps pods away is tolerated."""
    return not node.get("spec", {}).get("unschedulable") and not _barred(node, tolerations)


def _barred(node: Json, tolerations: Sequence[Toleration]) -> list[Json]:
    taints = [t for t in node.get("spec", {}).get("taints", []) if t.get("effect") in ("NoSchedule", "NoExecute")]
    return [taint for taint in taints if not any(_tolerates(t, taint) for t in tolerations)]


def _is_temporary(taint: Json) -> bool:
    return str(taint.get("key", "")).startswith(TEMPORARY)


def _ready(node: Json) -> bool:
    """A node that has not said anything of itself is taken for ready."""
    conditions = node.get("status", {}).get("conditions", [])
    return all(c["status"] == "True" for c in conditions if c["type"] == "Ready")


def _tolerates(toleration: Toleration, taint: Json) -> bool:
    """core/v1 ToleratesTaint."""
    if toleration.effect is not None and toleration.effect != taint.get("effect"):
        return False
    if toleration.key is not None and toleration.key != taint.get("key"):
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.key is not None and (toleration.value or "") == taint.get("value", "")
