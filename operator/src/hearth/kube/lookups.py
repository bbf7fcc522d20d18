"""Objects that plans ask for by name and that no watch of ours holds: a user's ConfigMap, claim, Secret.

They are read one by one and remembered. ConfigMaps and claims are remembered until a watch on metadata says that they
changed; the rest, which is not watched (nobody wants an operator that reads every Secret), for a while.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.cache import WatchCache
from hearth.kube.errors import NotFoundError
from hearth.kube.reflector import Known
from hearth.kube.resources import APPLIED, CLAIM, CONFIG_MAP, FOLLOWED, SECRET, ResourceTable
from hearth.plan.world import ObjectKey, key_of

WATCHED_METADATA = (CONFIG_MAP, CLAIM)
FOUND_FOR = 300.0
"""Seconds for which an object that is not watched is taken to be unchanged."""
MISSING_FOR = 10.0
"""Seconds after which an object that is not watched and was not there is asked for again."""

_WATCHED_KINDS = frozenset(r.kind for r in WATCHED_METADATA)
_STORED_KINDS = frozenset(r.kind for r in (*APPLIED, *FOLLOWED))


@dataclass(eq=False, slots=True)
class _Question:
    """One read under way. Two may ask for the same object at once, and each has to know whether it was overtaken."""

    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class _Answer:
    blob: bytes
    version: int
    read_at: float


class Lookups:
    """Reads and remembers. Also the sink of the reflectors that watch metadata only."""

    def __init__(
        self, api: Api, table: ResourceTable, cache: WatchCache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._api = api
        self._table = table
        self._cache = cache
        self._clock = clock
        self._answers: dict[ObjectKey, _Answer] = {}
        self._asking: dict[ObjectKey, list[_Question]] = {}

    async def related(self, needs: Iterable[ObjectKey]) -> dict[ObjectKey, Json | None]:
        """Each needed object, or None where it does not exist."""
        return {key: await self._one(key) for key in sorted(needs)}

    def ask_again_in(self, related: dict[ObjectKey, Json | None]) -> float | None:
        """Seconds until an answer that no watch keeps fresh should be asked for again; None if all are watched."""
        waits = [
            MISSING_FOR if obj is None else FOUND_FOR
            for key, obj in related.items()
            if key.kind not in _WATCHED_KINDS and key.kind not in self._cache.kinds and key.kind not in _STORED_KINDS
        ]
        return min(waits, default=None)

    def put(self, obj: Json) -> object:
        """A watch on metadata saw this version of an object."""
        key = key_of(obj)
        known = self._answers.get(key)
        if known is not None and known.version >= int(obj["metadata"]["resourceVersion"]):
            return None
        self._outdated(key)
        return None

    def remove(self, key: ObjectKey, uid: str = "") -> None:  # noqa: ARG002 - the protocol's arguments
        """A watch on metadata saw that an object is gone."""
        self._outdated(key)

    def known(self, kind: str, namespace: str) -> list[Known]:  # noqa: ARG002 - the protocol's arguments
        """Nothing: answers are dropped, not compared, after a gap."""
        return []

    def outdated_kind(self, kind: str) -> None:
        """A watch on metadata had a gap: nothing that is remembered of the kind can be trusted."""
        for key in [k for k in self._answers if k.kind == kind]:
            del self._answers[key]
        for key in self._asking:
            if key.kind == kind:
                self._overtake(key)
        self._cache.wake_needing_kind(kind)

    def forget_all(self) -> None:
        """Asks for everything anew at the next need, and wakes whoever needs it: part of the periodic resync."""
        for kind in sorted({key.kind for key in self._answers}):
            self.outdated_kind(kind)

    def _outdated(self, key: ObjectKey) -> None:
        self._answers.pop(key, None)
        self._overtake(key)
        self._cache.wake_needing(key)

    def _overtake(self, key: ObjectKey) -> None:
        for question in self._asking.get(key, ()):
            question.overtaken = True

    async def _one(self, key: ObjectKey) -> Json | None:
        stored = self._cache.store.get(key)
        if stored is not None or key.kind in self._cache.kinds:
            return stored
        known = self._answers.get(key)
        if known is not None and self._is_fresh(key, known):
            return _decode(known)
        return await self._ask(key)

    def _is_fresh(self, key: ObjectKey, answer: _Answer) -> bool:
        if key.kind in _WATCHED_KINDS:
            return True
        lasts = FOUND_FOR if answer.blob else MISSING_FOR
        # A little early, so that a wake-up planned for that moment does ask.
        return self._clock() - answer.read_at < lasts * 0.9

    async def _ask(self, key: ObjectKey) -> Json | None:
        question = _Question()
        self._asking.setdefault(key, []).append(question)
        try:
            # A Secret's values never reach the operator: whether it exists is all that a plan may know.
            read = self._api.get_metadata if key.kind == SECRET.kind else self._api.get
            obj: Json | None = await read(self._table.of(key.kind), key.namespace, key.name)
        except NotFoundError:
            obj = None
        finally:
            self._asking[key].remove(question)
            if not self._asking[key]:
                del self._asking[key]
        if question.overtaken:
            # It changed while it was read; the owner has been woken and will ask once more.
            return obj
        self._answers[key] = _answer(obj, self._clock())
        return obj


def _answer(obj: Json | None, now: float) -> _Answer:
    if obj is None:
        return _Answer(b"", 0, now)
    obj["metadata"].pop("managedFields", None)
    return _Answer(zlib.compress(orjson.dumps(obj)), int(obj["metadata"]["resourceVersion"]), now)


def _decode(answer: _Answer) -> Json | None:
    if not answer.blob:
        return None
    obj: Json = orjson.loads(zlib.decompress(answer.blob))
    return obj
