"""What a plan would do to what is live, as a list that people read. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from hearth.api.base import GROUP, Json
from hearth.kube.comparison import difference
from hearth.kube.executor import stamped
from hearth.plan.world import Action, Delete, ObjectKey, Plan, key_of

Verb = Literal["create", "change", "keep", "delete"]


@dataclass(frozen=True, slots=True)
class Change:
    """One child and what would become of it. `where` is the first field that differs."""

    verb: Verb
    kind: str
    name: str
    where: str = ""


def changes(owner: Json, plan: Plan, live: Callable[[ObjectKey], Json | None]) -> list[Change]:
    """The plan's actions in order, compared with the live objects."""
    return [_change(owner, action, live) for action in plan.actions]


def _change(owner: Json, action: Action, live: Callable[[ObjectKey], Json | None]) -> Change:
    if isinstance(action, Delete):
        return Change("delete", action.key.kind, action.key.name)
    desired = stamped(owner, action.obj)
    key = key_of(desired)
    found = live(key)
    if found is None:
        return Change("create", key.kind, key.name)
    if difference(desired, found) is None:
        return Change("keep", key.kind, key.name)
    where = difference(_without_digests(action.obj), found) or difference(action.obj, found)
    return Change("change", key.kind, key.name, where or "a field that is no longer wanted")


def _without_digests(obj: Json) -> Json:
    """The object without the annotations that say in a digest what its other fields say."""
    annotations = obj["metadata"].get("annotations", {})
    told = {name: value for name, value in annotations.items() if not name.startswith(f"{GROUP}/")}
    return {**obj, "metadata": {**obj["metadata"], "annotations": told}}


def proposed(wanted: Json, live: Json | None, namespace: str) -> Json:
    """The resource as it would be after `kubectl apply`: the live one's identity and status with the wanted spec."""
    meta = wanted["metadata"]
    if live is None:
        identity = {"uid": f"preview-{meta['name']}", "generation": 1, "namespace": meta.get("namespace", namespace)}
        return {**wanted, "metadata": {**meta, **identity}}
    generation = live["metadata"].get("generation", 1) + (live.get("spec") != wanted.get("spec"))
    version = str(int(live["metadata"].get("resourceVersion") or 0) + 1)
    return {**live, "metadata": {**live["metadata"], "generation": generation, "resourceVersion": version}} | {
        "spec": wanted.get("spec", {})
    }


def as_json(resource: Json, plan: Plan, listed: list[Change]) -> Json:
    """The preview for machines."""
    return {
        "kind": resource["kind"],
        "namespace": resource["metadata"]["namespace"],
        "name": resource["metadata"]["name"],
        "changes": [{k: v for k, v in asdict(change).items() if v} for change in listed],
        "status": plan.status,
        "events": [{"type": e.type, "reason": e.reason, "note": e.note} for e in plan.events],
    }


def refused_as_json(resource: Json, reasons: Sequence[str]) -> Json:
    """The same of a resource that the API server would not take."""
    meta = resource["metadata"]
    named = {"kind": resource["kind"], "namespace": meta["namespace"], "name": meta["name"]}
    return {**named, "refused": list(reasons), "changes": [], "status": {}, "events": []}
