"""The watch cache: everything one decision may look at, gathered without asking the API server.

Objects come in through `put` and `remove`, from whichever watch sees them; each change wakes the Hearth resources that
it may matter to. A key that is woken in vain costs one plan; a key that is not woken is a bug.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from hearth.api.base import Json
from hearth.kube.graph import ReferenceGraph
from hearth.kube.reflector import Known
from hearth.kube.resources import REPLICA_SET
from hearth.kube.store import Change, ObjectStore, version_of
from hearth.plan.seen import seen
from hearth.plan.settings import Settings
from hearth.plan.world import KindPlan, ObjectKey, World, key_of

Wake = Callable[[ObjectKey, bool], None]
"""Is told of a key to look at, and whether its spec is new (at once) or only something around it (soon)."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "hearth"
KIND_LABEL = "hearth.dev/kind"
NAME_LABEL = "hearth.dev/name"
SELECTOR = f"{MANAGED_BY}={MANAGER}"


class WatchCache:
    """What the watches have seen, indexed by what a plan asks for."""

    def __init__(self, kinds: Iterable[KindPlan], settings: Settings, wake: Wake) -> None:
        self.kinds: Mapping[str, KindPlan] = {kind.kind: kind for kind in kinds}
        self.settings = settings
        self.store = ObjectStore(seen)
        self._wake = wake
        self._references = ReferenceGraph()
        self._needs = ReferenceGraph()
        self._nodes: dict[str, Json] = {}
        self._node_list: tuple[Json, ...] = ()
        self._classes: dict[str, Json] = {}
        self._waiting: set[ObjectKey] = set()
        self._progress: dict[ObjectKey, Json] = {}
        self._horizon: dict[str, int] = {}
        self.changes: Counter[tuple[str, Change]] = Counter()
        """What the objects taken in came to, by kind."""

    def put(self, obj: Json) -> Change:
        """Takes in an object that a watch or a list told of."""
        key = key_of(obj)
        self._horizon[key.kind] = max(self._horizon.get(key.kind, 0), version_of(obj))
        if key.kind == "Node":
            return self._put_node(obj)
        if key.kind == "StorageClass":
            return self._put_class(obj)
        return self._take(key, obj)

    def put_own(self, obj: Json) -> None:
        """Takes in what one of our own writes returned, unless the watch has told already that it is gone again."""
        key = key_of(obj)
        if key in self.store or version_of(obj) > self._horizon.get(key.kind, 0):
            self._take(key, obj)

    def remove(self, key: ObjectKey, uid: str = "") -> None:
        """Takes note that the object is gone. With a uid, only if that is the one known."""
        if key.kind == "Node":
            if self._nodes.pop(key.name, None) is not None:
                self._nodes_changed()
            return
        if key.kind == "StorageClass":
            if self._classes.pop(key.name, None) is not None:
                self.wake_all()
            return
        obj = self.store.remove(key, uid)
        if obj is None:
            return
        if key.kind in self.kinds:
            self._owner_gone(key)
        self._wake_around(key, obj)

    def known(self, kind: str, namespace: str) -> list[Known]:
        """What is held of a kind: for reflectors, which remove what has vanished."""
        if kind in ("Node", "StorageClass"):
            held = self._nodes if kind == "Node" else self._classes
            return [Known(key_of(obj), obj["metadata"].get("uid", ""), version_of(obj)) for obj in held.values()]
        keys = self.store.keys(kind, namespace)
        return [Known(key, self.store.uid(key) or "", self.store.version(key)) for key in keys]

    def needs(self, key: ObjectKey) -> frozenset[ObjectKey]:
        """What the plan of this owner, as it is now, has to see; remembered, so that a change of it wakes the owner."""
        owner = self.store.get(key)
        if owner is None:
            return frozenset()
        return self.needs_of(key, owner)

    def needs_of(self, key: ObjectKey, owner: Json) -> frozenset[ObjectKey]:
        """The same for who has the owner at hand."""
        needs = self.kinds[key.kind].needs(owner)
        self._needs.link(key, needs)
        return needs

    def wake_needing(self, target: ObjectKey) -> None:
        """Wakes the owners whose plans look at this object."""
        for key in self._needs.pointing_at(target):
            self._wake(key, False)

    def wake_needing_kind(self, kind: str) -> None:
        """Wakes the owners whose plans look at any object of this kind: after a watch had a gap."""
        for target in self._needs.targets(kind):
            self.wake_needing(target)

    def wake_all(self) -> None:
        """Wakes every owner: after a change so seldom that nobody keeps a list of who looks at it."""
        for key in self.owner_keys():
            self._wake(key, False)

    def is_needed(self, target: ObjectKey) -> bool:
        """Whether any plan looks at this object."""
        return bool(self._needs.pointing_at(target))

    def observe(self, key: ObjectKey, related: Mapping[ObjectKey, Json | None] | None = None) -> World | None:
        """The world of one owner, or None if there is no such owner."""
        owner = self.store.get(key)
        if owner is None:
            return None
        child_keys = self.store.controlled_by(owner["metadata"]["uid"])
        children = self.store.objects(k for k in child_keys if k.kind != "Pod")
        replica_sets = self._below("Deployment", child_keys)
        return World(
            owner=owner,
            settings=self.settings,
            children=children,
            pods=self.store.objects(self._pods_below(child_keys)),
            replica_sets=self.store.objects(k for k in replica_sets if k.kind == REPLICA_SET.kind),
            related=related or {},
            dependents=self.store.objects(sorted(self._references.pointing_at(key))),
            nodes=self._node_list,
            storage_classes=tuple(self._classes[name] for name in sorted(self._classes)),
            progress=self._progress.get(key),
        )

    def set_progress(self, key: ObjectKey, message: Json) -> None:
        """Remembers the newest progress message of an owner; who receives it decides when to wake the key."""
        self._progress[key] = message

    def owner_keys(self) -> list[ObjectKey]:
        """Every Hearth resource."""
        return [key for kind in self.kinds for key in self.store.keys(kind)]

    def owner_of(self, key: ObjectKey) -> ObjectKey | None:
        """The Hearth resource at the top of the object's chain of controllers; None where the chain breaks off."""
        for _ in range(4):  # pod -> ReplicaSet -> Deployment -> resource is the longest chain there is
            if key.kind in self.kinds:
                return key
            above = self.store.key_of_uid(self.store.controller(key))
            if above is None:
                return None
            key = above
        return None

    def _take(self, key: ObjectKey, obj: Json) -> Change:
        change = self.store.put(obj)
        self.changes[key.kind, change] += 1
        if change in (Change.ADDED, Change.CHANGED):
            if key.kind in self.kinds:
                if change is Change.ADDED:
                    self._progress.pop(key, None)  # of a former owner of this name
                self._owner_changed(key, obj)
            self._wake_around(key, obj)
        return change

    def _below(self, kind: str, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
        """What those of `keys` that are of this kind control."""
        parents = [key for key in keys if key.kind == kind]
        return [below for key in parents for below in self.store.controlled_by(self.store.uid(key) or "")]

    def _pods_below(self, keys: Iterable[ObjectKey]) -> list[ObjectKey]:
        pods: list[ObjectKey] = []
        for key in keys:
            if key.kind == "Pod":
                pods.append(key)
            elif key.kind in ("Deployment", "ReplicaSet", "StatefulSet", "Job"):
                pods += self._pods_below(self.store.controlled_by(self.store.uid(key) or ""))
        return pods

    def _owner_changed(self, key: ObjectKey, obj: Json) -> None:
        for target in self._references.link(key, self.kinds[key.kind].refers_to(obj)):
            self._wake(target, False)
        if _may_need_a_node(obj):
            self._waiting.add(key)
        else:
            self._waiting.discard(key)

    def _owner_gone(self, key: ObjectKey) -> None:
        for target in self._references.link(key, frozenset()):
            self._wake(target, False)
        self._needs.link(key, frozenset())
        self._waiting.discard(key)
        self._progress.pop(key, None)

    def _wake_around(self, key: ObjectKey, obj: Json) -> None:
        """Wakes whoever may look at this object. A ReplicaSet is only looked through: at the pods below it."""
        if key.kind == REPLICA_SET.kind and not self.store.controlled_by(obj["metadata"]["uid"]):
            return
        if key.kind in self.kinds:
            self._wake(key, _has_unseen_spec(obj))
            around = self._references.pointing_at(key) | self._references.pointed_at_by(key)
        else:
            owners = (self._owner_by_chain(obj), _owner_by_labels(obj))
            around = frozenset(owner for owner in owners if owner is not None and owner in self.store)
        for owner in around | self._needs.pointing_at(key):
            self._wake(owner, False)

    def _owner_by_chain(self, obj: Json) -> ObjectKey | None:
        for reference in obj["metadata"].get("ownerReferences") or ():
            if reference.get("controller") and (above := self.store.key_of_uid(reference["uid"])) is not None:
                return self.owner_of(above)
        return None

    def _put_node(self, obj: Json) -> Change:
        name, node = obj["metadata"]["name"], node_facts(obj)
        known = self._nodes.get(name)
        if known is not None and version_of(node) < version_of(known):
            return Change.STALE
        self._nodes[name] = node
        if known is not None and _without_version(known) == _without_version(node):
            return Change.UNCHANGED
        self._nodes_changed()
        return Change.ADDED if known is None else Change.CHANGED

    def _put_class(self, obj: Json) -> Change:
        name = obj["metadata"]["name"]
        known = self._classes.get(name)
        if known is not None and version_of(obj) < version_of(known):
            return Change.STALE
        if known is not None and version_of(obj) == version_of(known):
            return Change.UNCHANGED
        self._classes[name] = {**obj, "metadata": {k: v for k, v in obj["metadata"].items() if k != "managedFields"}}
        self.wake_all()
        return Change.ADDED if known is None else Change.CHANGED

    def _nodes_changed(self) -> None:
        self._node_list = tuple(self._nodes[name] for name in sorted(self._nodes))
        for key in sorted(self._waiting):
            self._wake(key, False)


def node_facts(node: Json) -> Json:
    """What `World.nodes` says of a node; heartbeat times are left out, or every node would change each minute."""
    meta, spec, status = node["metadata"], node.get("spec") or {}, node.get("status") or {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": meta["name"],
            "uid": meta.get("uid", ""),
            "resourceVersion": meta.get("resourceVersion", "0"),
            "labels": meta.get("labels") or {},
        },
        "spec": {k: spec[k] for k in ("taints", "unschedulable") if k in spec},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "conditions": [
                {k: c[k] for k in ("type", "status", "reason") if k in c} for c in status.get("conditions") or ()
            ],
        },
    }


def _has_unseen_spec(owner: Json) -> bool:
    generation: object = owner["metadata"].get("generation")
    return generation != (owner.get("status") or {}).get("observedGeneration")


def _may_need_a_node(owner: Json) -> bool:
    """Whether another node could change what becomes of it: it waits, or has failed and has not ended.

    What does not fit on any node has failed; which failures are about nodes only the plan knows.
    """
    status = owner.get("status") or {}
    return bool(status.get("pending")) or (bool(status.get("failure")) and "completionTime" not in status)


def _without_version(node: Json) -> str:
    meta = {k: v for k, v in node["metadata"].items() if k != "resourceVersion"}
    return json.dumps({**node, "metadata": meta}, sort_keys=True)


def _owner_by_labels(obj: Json) -> ObjectKey | None:
    labels = obj["metadata"].get("labels") or {}
    if labels.get(MANAGED_BY) != MANAGER or KIND_LABEL not in labels or NAME_LABEL not in labels:
        return None
    return ObjectKey(labels[KIND_LABEL], obj["metadata"].get("namespace", ""), labels[NAME_LABEL])
