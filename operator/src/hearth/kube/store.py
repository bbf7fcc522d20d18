"""A compact memory of objects: each is kept as JSON, compressed once it is not new, and decoded only when looked at.

Ten thousand decoded objects take some 300 MB as Python dicts. Objects of one kind and much the same size look alike, so
the first of them serves as the compressor's dictionary for the rest, which leaves a few hundred bytes of each.
"""

from __future__ import annotations

import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

import orjson

from hearth.api.base import Json
from hearth.kube.codec import LONG, Codec
from hearth.plan.world import ObjectKey, controller_of, key_of


class Change(Enum):
    """What a `put` did."""

    ADDED = "added"
    """The object was not known, or is a new one of an old name."""
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    """Only its resourceVersion or its managedFields differ."""
    STALE = "stale"
    """Older than what is known: ignored."""


@dataclass(slots=True)
class Entry:
    """One stored object and what is asked of it without decoding."""

    key: ObjectKey
    """The one copy of the key that every index shares: ten thousand objects have long names."""
    uid: str
    version: int
    controller: str
    """uid of the controller owner; empty if none."""
    checksum: int
    blob: bytes
    codec: Codec | None = None
    """What `blob` is compressed with; None: it is not."""
    settled: str = ""
    """Digest of a desire that this very content is known to meet; a change of the content takes it away."""


NEWEST = 2 * 2**20
"""Bytes of objects that are kept as they came: what is new changes again, and is looked at, before long. An LLMService
that converges has some 20 KB of them.
"""


def version_of(obj: Json) -> int:
    """The resourceVersion as a number: comparable within one cluster since Kubernetes 1.35 (KEP-5504), and before."""
    return int(obj["metadata"].get("resourceVersion") or 0)


class ObjectStore:
    """Objects by key, by uid and by the uid of their controller."""

    def __init__(self, kept: Callable[[Json], Json] = lambda obj: obj) -> None:
        """`kept` says what of an object is remembered."""
        self._kept = kept
        self._entries: dict[ObjectKey, Entry] = {}
        self._by_uid: dict[str, ObjectKey] = {}
        self._by_controller: dict[str, set[ObjectKey]] = {}
        self._newest: OrderedDict[ObjectKey, Entry] = OrderedDict()
        self._newest_bytes = 0
        self._codecs: dict[tuple[str, int], Codec] = {}
        """By kind and power of two of the size: an engine's ConfigMap has nothing in common with a gateway's."""

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: object) -> bool:
        return key in self._entries

    def put(self, obj: Json) -> Change:
        """Remembers the object, unless what is known of it is newer."""
        key, version, uid = key_of(obj), version_of(obj), obj["metadata"].get("uid", "")
        known = self._entries.get(key)
        if known is not None and version < known.version:
            return Change.STALE
        if known is not None and known.uid == uid and known.version == version:
            return Change.UNCHANGED  # the watch repeats what one of our own writes returned
        data = _essence(self._kept(obj))
        checksum = zlib.crc32(data)
        if known is not None and known.uid == uid:
            known.version = version
            if known.checksum == checksum:
                return Change.UNCHANGED
        if known is not None:
            key = known.key
            self._unindex(known)
        entry = Entry(key, uid, version, _controller_uid(obj), checksum, data)
        self._index(entry)
        self._keep(entry)
        return Change.ADDED if known is None or known.uid != uid else Change.CHANGED

    def remove(self, key: ObjectKey, uid: str = "") -> Json | None:
        """Forgets the object and returns it; None if it was not known (or only under another uid)."""
        entry = self._entries.get(key)
        if entry is None or (uid and entry.uid != uid):
            return None
        obj = _decoded(entry)
        del self._entries[key]
        self._unindex(entry)
        return obj

    def get(self, key: ObjectKey) -> Json | None:
        """A fresh copy of the object."""
        entry = self._entries.get(key)
        return None if entry is None else _decoded(entry)

    def uid(self, key: ObjectKey) -> str | None:
        """The object's uid."""
        entry = self._entries.get(key)
        return None if entry is None else entry.uid

    def version(self, key: ObjectKey) -> int:
        """The object's resourceVersion; 0 where it is not known."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry.version

    def key_of_uid(self, uid: str) -> ObjectKey | None:
        """Whose uid this is."""
        return self._by_uid.get(uid)

    def settle(self, key: ObjectKey, desire: str) -> None:
        """Notes that the object as it is known needs no write to be as desired."""
        entry = self._entries.get(key)
        if entry is not None:
            entry.settled = desire

    def is_settled(self, key: ObjectKey, desire: str) -> bool:
        """Whether the object is known to need no write to be as desired."""
        entry = self._entries.get(key)
        return entry is not None and entry.settled == desire

    def controller(self, key: ObjectKey) -> str:
        """The uid of the object's controller; empty where there is none."""
        entry = self._entries.get(key)
        return "" if entry is None else entry.controller

    def controlled_by(self, uid: str) -> list[ObjectKey]:
        """The keys of the objects that this uid controls, in a fixed order."""
        return sorted(self._by_controller.get(uid, ()))

    def keys(self, kind: str, namespace: str = "") -> Iterator[ObjectKey]:
        """The keys of one kind, of one namespace or of all."""
        return iter([k for k in self._entries if k.kind == kind and namespace in ("", k.namespace)])

    def objects(self, keys: Iterable[ObjectKey]) -> tuple[Json, ...]:
        """Fresh copies of those that are known."""
        return tuple(obj for key in keys if (obj := self.get(key)) is not None)

    def _keep(self, entry: Entry) -> None:
        if len(entry.blob) >= LONG:
            self._compress(entry)  # it would take the room of many
            return
        self._newest[entry.key] = entry
        self._newest_bytes += len(entry.blob)
        while self._newest_bytes > NEWEST:
            _, oldest = self._newest.popitem(last=False)
            self._newest_bytes -= len(oldest.blob)
            self._compress(oldest)

    def _compress(self, entry: Entry) -> None:
        entry.codec = self._codecs.setdefault((entry.key.kind, len(entry.blob).bit_length()), Codec())
        entry.blob = entry.codec.encode(entry.blob)

    def _index(self, entry: Entry) -> None:
        self._entries[entry.key] = entry
        self._by_uid[entry.uid] = entry.key
        if entry.controller:
            self._by_controller.setdefault(entry.controller, set()).add(entry.key)

    def _unindex(self, entry: Entry) -> None:
        if self._newest.pop(entry.key, None) is not None:
            self._newest_bytes -= len(entry.blob)
        self._by_uid.pop(entry.uid, None)
        siblings = self._by_controller.get(entry.controller)
        if siblings is not None:
            siblings.discard(entry.key)
            if not siblings:
                del self._by_controller[entry.controller]


def _decoded(entry: Entry) -> Json:
    obj: Json = orjson.loads(entry.blob if entry.codec is None else entry.codec.decode(entry.blob))
    obj["metadata"]["resourceVersion"] = str(entry.version)
    return obj


def _controller_uid(obj: Json) -> str:
    controller = controller_of(obj)
    return sys.intern(controller["uid"]) if controller else ""


def _essence(obj: Json) -> bytes:
    """The object without what changes when nothing does."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("managedFields", "resourceVersion")}
    return orjson.dumps({**obj, "metadata": meta}, option=orjson.OPT_SORT_KEYS)
