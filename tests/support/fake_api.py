"""An API server in memory: server-side apply with ownership, generations, status subresource, preconditions, garbage
collection, lists in pages, watches with gaps. tests/controlplane/test_fake_api_contract.py holds it against a real one.
"""

import asyncio
import copy
import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from apply_fields import Path, flatten, is_key, remove_leaf, set_leaf
from hearth.api.base import Json
from hearth.kube.api import CREATE_ONLY, Page, Propagation, Selection, WatchEvent
from hearth.kube.errors import ConflictError, GoneError, InvalidError, NotFoundError
from hearth.kube.resources import Resource
from hearth.plan.world import ObjectKey

PAGE = 3
"""Small, so that every test of a list sees more than one page."""
CUSTOM = {"Widget", "FineTuneJob", "VectorIndex", "LLMService"}
WITH_STATUS = CUSTOM | {"Deployment", "StatefulSet", "Job", "Pod", "PersistentVolumeClaim", "Node"}


@dataclass
class Stored:
    """One object and who owns which of its leaves."""

    obj: Json
    owners: dict[str, set[Path]] = field(default_factory=dict)


class CrashedError(BaseException):
    """The process died at this write. Not an Exception: no handler may survive it."""


class FakeApi:
    """Implements `hearth.kube.api.Api`. `writes` counts the requests that tried to change something."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Stored] = {}
        self.log: list[tuple[int, WatchEvent]] = []
        self._before: dict[int, Json] = {}
        self.writes: list[tuple[str, ObjectKey]] = []
        self.reads = 0
        self.before_write: Callable[[str, ObjectKey], None] = lambda verb, key: None
        self.before_status: Callable[[Json], None] = lambda status: None
        self.collects_late = False
        """Whether what a deleted object owned stays until `collect`: a garbage collector may be minutes behind."""
        self._deleted: set[str] = set()
        self._version = itertools.count(100)
        self._last_version = 99
        self._oldest = 0
        self._changed = asyncio.Event()

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        self.reads += 1
        return copy.deepcopy(self._find(ObjectKey(resource.kind, namespace, name)).obj)

    async def get_metadata(self, resource: Resource, namespace: str, name: str) -> Json:
        obj = await self.get(resource, namespace, name)
        return {part: obj[part] for part in ("apiVersion", "kind", "metadata")}

    async def list(self, what: Selection) -> AsyncIterator[Page]:
        self.reads += 1
        version = str(self._last_version)
        found = [self._shown(what, s.obj) for s in self.objects.values() if _selected(what, s.obj)]
        for start in range(0, max(len(found), 1), PAGE):
            yield Page(tuple(found[start : start + PAGE]), version)

    async def watch(self, what: Selection, resource_version: str) -> AsyncIterator[WatchEvent]:
        at = int(resource_version)
        while True:
            if at < self._oldest:
                raise GoneError(410, "Expired", "too old resource version")
            for version, event in [entry for entry in self.log if entry[0] > at]:
                at = version
                type_ = _type_seen(what, event, self._before.get(version))
                if type_ is not None:
                    yield WatchEvent(type_, self._shown(what, event.object))
            self._changed.clear()
            await self._changed.wait()

    async def apply(self, resource: Resource, obj: Json, manager: str) -> Json:
        return self._apply(resource, obj, manager, status=False)

    async def apply_status(self, resource: Resource, obj: Json, manager: str) -> Json:
        return self._apply(resource, obj, manager, status=True)

    async def create(self, resource: Resource, obj: Json) -> Json:
        key = _key(resource, obj)
        self._writing("create", key)
        if key in self.objects:
            raise ConflictError(409, "AlreadyExists", f"{key.kind} {key.name} already exists")
        return self.put(obj)

    async def replace(self, resource: Resource, obj: Json) -> Json:
        key = _key(resource, obj)
        self._writing("update", key)
        stored = self._find(key)
        if obj["metadata"].get("resourceVersion") not in (None, stored.obj["metadata"]["resourceVersion"]):
            raise ConflictError(409, "Conflict", "the object has been modified")
        return self._store(key, stored, copy.deepcopy(obj))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Json) -> Json:
        key = ObjectKey(resource.kind, namespace, name)
        self._writing("patch", key)
        stored = self._find(key)
        return self._store(key, stored, _merged(stored.obj, patch))

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, propagation: Propagation = "Background"
    ) -> None:
        key = ObjectKey(resource.kind, namespace, name)
        self._writing("delete", key)
        stored = self.objects.get(key)
        if stored is not None and stored.obj["metadata"]["uid"] == uid:
            self.remove(key)

    # What happens without the operator.

    def put(self, obj: Json, manager: str = "somebody") -> Json:
        """Somebody creates an object, or edits all of it."""
        key = ObjectKey(obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        stored = self.objects.get(key)
        if stored is None:
            return self._create(key, obj, manager)
        new = copy.deepcopy(obj)
        system = ("uid", "generation", "resourceVersion", "creationTimestamp")
        new["metadata"] |= {name: stored.obj["metadata"][name] for name in system}
        self._own_changes(stored, new, manager)
        return self._store(key, stored, new)

    def edit(self, key: ObjectKey, change: Callable[[Json], None], manager: str = "somebody") -> Json:
        """Somebody edits an object in place."""
        new = copy.deepcopy(self._find(key).obj)
        change(new)
        return self.put(new, manager)

    def remove(self, key: ObjectKey) -> None:
        """Somebody deletes an object; the garbage collector follows at once, or in its own time."""
        stored = self.objects.pop(key)
        stored.obj["metadata"]["resourceVersion"] = self._next_version()
        self._tell("DELETED", stored.obj)
        uid = stored.obj["metadata"]["uid"]
        self._deleted.add(uid)
        if not self.collects_late:
            self._collect({uid})

    def collect(self) -> None:
        """The garbage collector comes to everything that was left behind."""
        self._collect(self._deleted)

    def compact(self) -> None:
        """Forgets the past: watches from before get 410."""
        self._oldest = self._last_version
        self.log.clear()
        self._changed.set()

    def live(self, key: ObjectKey) -> Json:
        """A copy of the stored object."""
        return copy.deepcopy(self._find(key).obj)

    def owned_paths(self, key: ObjectKey, manager: str) -> set[Path]:
        """The leaves that a field manager owns."""
        return set(self._find(key).owners.get(manager, set()))

    def _apply(self, resource: Resource, obj: Json, manager: str, status: bool) -> Json:
        key = _key(resource, obj)
        if status:
            self.before_status(obj["status"])
        self._writing("apply_status" if status else "apply", key)
        meta, stored = obj["metadata"], self.objects.get(key)
        if stored is None:
            if status:
                raise NotFoundError(404, "NotFound", f"{key.kind} {key.name} not found")
            if meta.get("uid"):
                raise ConflictError(409, "Conflict", "uid mismatch: no existing object was found")
            return self._create(key, _without_preconditions(obj), manager)
        _check_preconditions({**meta, "uid": stored.obj["metadata"]["uid"]} if status else meta, stored.obj["metadata"])
        desired = {"status": obj["status"]} if status else _without_preconditions(obj)
        leaves = {p: v for p, v in flatten(desired).items() if _is_applied(p, key.kind, status)}
        slot = f"{manager}:status" if status else manager
        new = copy.deepcopy(stored.obj)
        # The keys of a list item go last: without them it could not be found any more.
        for path in sorted(stored.owners.get(slot, set()) - leaves.keys(), key=is_key):
            if not any(path in paths for name, paths in stored.owners.items() if name != slot):
                remove_leaf(new, path)
        changed = {p for p, v in leaves.items() if flatten(stored.obj).get(p) != v}
        for path, value in leaves.items():
            set_leaf(new, path, copy.deepcopy(value))
        for name, paths in stored.owners.items():
            if name != slot:
                paths.difference_update(changed)
        stored.owners[slot] = set(leaves)
        return self._store(key, stored, new)

    def _create(self, key: ObjectKey, obj: Json, manager: str) -> Json:
        new = copy.deepcopy(obj)
        if key.kind in WITH_STATUS and manager != "somebody":
            new.pop("status", None)
        new["metadata"] |= {"uid": str(uuid.uuid4()), "generation": 1, "resourceVersion": self._next_version()}
        new["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if key.kind in CUSTOM:
            new.setdefault("status", {"observedGeneration": -1})
        owned = {p for p in flatten(obj) if _is_applied(p, key.kind, status=False)}
        self.objects[key] = Stored(new, {manager: owned})
        self._tell("ADDED", new)
        return copy.deepcopy(new)

    def _store(self, key: ObjectKey, stored: Stored, new: Json) -> Json:
        if new != stored.obj:
            if _spec(new) != _spec(stored.obj):
                new["metadata"]["generation"] = stored.obj["metadata"].get("generation", 1) + 1
            new["metadata"]["resourceVersion"] = self._next_version()
            self._before[self._last_version] = stored.obj
            stored.obj = new
            self._tell("MODIFIED", new)
        return copy.deepcopy(stored.obj)

    def _own_changes(self, stored: Stored, new: Json, manager: str) -> None:
        before, after = flatten(stored.obj), flatten(new)
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        for paths in stored.owners.values():
            paths.difference_update(changed)
        stored.owners.setdefault(manager, set()).update(changed & after.keys())

    def _collect(self, owners: set[str]) -> None:
        while left := [key for key, stored in self.objects.items() if owners & _owner_uids(stored.obj)]:
            self.remove(left[0])

    def _writing(self, verb: str, key: ObjectKey) -> None:
        self.before_write(verb, key)
        self.writes.append((verb, key))

    def _find(self, key: ObjectKey) -> Stored:
        try:
            return self.objects[key]
        except KeyError:
            raise NotFoundError(404, "NotFound", f"{key.kind} {key.name} not found") from None

    def _next_version(self) -> str:
        self._last_version = next(self._version)
        return str(self._last_version)

    def _tell(self, type_: Any, obj: Json) -> None:
        self.log.append((self._last_version, WatchEvent(type_, copy.deepcopy(obj))))
        self._changed.set()

    def _shown(self, what: Selection, obj: Json) -> Json:
        shown = copy.deepcopy(obj)
        return {k: shown[k] for k in ("apiVersion", "kind", "metadata")} if what.metadata_only else shown


def _key(resource: Resource, obj: Json) -> ObjectKey:
    return ObjectKey(resource.kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


def _owner_uids(obj: Json) -> set[str]:
    return {reference["uid"] for reference in obj["metadata"].get("ownerReferences", [])}


def _check_preconditions(wanted: Json, live: Json) -> None:
    version = wanted.get("resourceVersion")
    if version is not None and (version == CREATE_ONLY or version != live["resourceVersion"]):
        raise ConflictError(409, "Conflict", "the object has been modified")
    if wanted.get("uid", live["uid"]) != live["uid"]:
        raise InvalidError(422, "Invalid", f"metadata.uid: Invalid value: {wanted['uid']}: field is immutable")


def _without_preconditions(obj: Json) -> Json:
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "uid")}
    return {**obj, "metadata": meta}


def _is_applied(path: Path, kind: str, status: bool) -> bool:
    if status:
        return path[0] == "status"
    if path[0] in ("apiVersion", "kind") or path[:2] in (("metadata", "name"), ("metadata", "namespace")):
        return False
    return not (path[0] == "status" and kind in WITH_STATUS)


def _spec(obj: Json) -> Json:
    return {k: v for k, v in obj.items() if k not in ("metadata", "status")}


def _type_seen(what: Selection, event: WatchEvent, before: Json | None) -> Any:
    """The type of a change as a selective watch tells it; None where the watch does not tell it at all."""
    if event.type != "MODIFIED" or before is None:
        return event.type if _selected(what, event.object) else None
    match _selected(what, before), _selected(what, event.object):
        case True, True:
            return "MODIFIED"
        case True, False:
            return "DELETED"
        case False, True:
            return "ADDED"
    return None


def _merged(obj: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = copy.deepcopy(obj) if isinstance(obj, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged


def _selected(what: Selection, obj: Json) -> bool:
    meta = obj["metadata"]
    if obj["kind"] != what.resource.kind or what.namespace not in ("", meta.get("namespace", "")):
        return False
    if what.fields and what.fields != f"metadata.name={meta['name']}":
        return False
    labels = meta.get("labels", {})
    for term in filter(None, what.labels.split(",")):
        name, _, value = term.partition("!=" if "!=" in term else "=")
        if (labels.get(name) == value) is ("!=" in term):
            return False
    return True
