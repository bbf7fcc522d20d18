"""Keeps a cache in step with one selection of objects: list, watch, and list again when the watch has a gap.

After a second list, what vanished meanwhile is removed: no watch event will ever tell of it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from hearth.api.base import Json
from hearth.kube.api import Api, Selection
from hearth.kube.errors import ApiError, ConnectionFailedError, GoneError
from hearth.kube.retry import Backoff
from hearth.kube.store import version_of
from hearth.plan.world import ObjectKey, key_of

log = logging.getLogger(__name__)

RECONNECT = Backoff(first=0.5, cap=30.0)
"""Seconds between tries to list or watch after errors, or watches that ended at once, in a row."""
STEADY = 10.0
"""Seconds after which a watch counts as one that worked, however it ends: longer than it takes to find no server."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a cache knows of one object: enough to see whether it is still the same."""

    key: ObjectKey
    uid: str
    version: int


class Sink(Protocol):
    """Where a reflector puts what it sees."""

    def put(self, obj: Json) -> object:
        """The object is there, like this."""
        ...

    def remove(self, key: ObjectKey, uid: str = "") -> None:
        """The object is gone."""
        ...

    def known(self, kind: str, namespace: str) -> Iterable[Known]:
        """What the sink holds of a kind, in one namespace or (if empty) in all."""
        ...


class Reflector:
    """Feeds one selection into a sink for as long as `run` runs."""

    def __init__(
        self,
        api: Api,
        what: Selection,
        sink: Sink,
        rng: random.Random | None = None,
        lists: asyncio.Semaphore | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.synced = asyncio.Event()
        """Set once the first list is in the sink."""
        self.after_gap: Callable[[], None] = lambda: None
        """Called after every list but the first."""
        self._api = api
        self._sink = sink
        self._rng = rng or random.Random()  # noqa: S311 - spreads reconnects in time
        self._lists = lists or asyncio.Semaphore()
        """Shared by reflectors that must not all list at once."""
        self._clock = clock
        self._version = ""
        self._watching_since = math.inf

    async def run(self) -> None:
        """Lists and watches until cancelled. What fails or ends at once is tried again, more slowly each time."""
        short = 0
        while True:
            self._watching_since = math.inf
            error = await self._try()
            short = 0 if self._clock() - self._watching_since >= STEADY else short + 1
            if error is None and short <= 1:
                continue  # the server ends every watch after some minutes, and has a gap now and then
            delay = RECONNECT.delay(max(short, 1), self._rng)
            why = error or "the watch ended at once"
            log.warning("watching %s: %s; again in %.1f s", self.what.resource.plural, why, delay)
            await asyncio.sleep(delay)

    async def _try(self) -> Exception | None:
        """One step; returns what went wrong, but for a gap, which the next step mends."""
        try:
            await self.step()
        except GoneError:
            log.info("the watch on %s has a gap, listing again", self.what.resource.plural)
            self._version = ""
        except (ApiError, ConnectionFailedError) as error:
            return error
        return None

    async def step(self) -> None:
        """One list, if there is nothing to go on from, and one watch until the server ends it."""
        if not self._version:
            async with self._lists:
                self._version = await relist(self._api, self.what, self._sink)
            if self.synced.is_set():
                self.after_gap()
            self.synced.set()
        self._watching_since = self._clock()
        async for event in self._api.watch(self.what, self._version):
            if event.type == "DELETED":
                self._sink.remove(key_of(event.object), event.object["metadata"].get("uid", ""))
            elif event.type != "BOOKMARK":
                self._sink.put(event.object)
            self._version = event.object["metadata"]["resourceVersion"]


async def relist(api: Api, what: Selection, sink: Sink) -> str:
    """Puts every object into the sink and removes what is no more; returns where to watch from."""
    seen: set[ObjectKey] = set()
    version = ""
    async for page in api.list(what):
        version = page.resource_version
        for obj in page.items:
            seen.add(key_of(obj))
            sink.put(obj)
    _prune(what, sink, seen, version)
    return version


async def resync(api: Api, what: Selection, sink: Sink) -> int:
    """Compares the sink with a list of metadata and mends what differs; returns how many objects differed.

    A cheap second line of defence (some 300 bytes an object) against events that a watch lost without a word.
    """
    versions = {known.key: known.version for known in sink.known(what.resource.kind, what.namespace)}
    seen: set[ObjectKey] = set()
    version, mended = "", 0
    slim = Selection(what.resource, what.namespace, what.labels, what.fields, metadata_only=True)
    async for page in api.list(slim):
        version = page.resource_version
        for partial in page.items:
            key = key_of(partial)
            seen.add(key)
            if version_of(partial) > versions.get(key, 0):
                mended += await _fetch(api, what, partial, sink)
    return mended + _prune(what, sink, seen, version)


async def _fetch(api: Api, what: Selection, partial: Json, sink: Sink) -> int:
    if what.metadata_only:
        sink.put(partial)
        return 1
    meta = partial["metadata"]
    # A list of one: whoever may watch a kind need not have the right to get its objects.
    one = Selection(what.resource, meta.get("namespace", ""), fields=f"metadata.name={meta['name']}")
    found = [obj async for page in api.list(one) for obj in page.items]
    for obj in found:
        sink.put(obj)
    return len(found)


def _prune(what: Selection, sink: Sink, seen: set[ObjectKey], version: str) -> int:
    # What is newer than the list was written by ourselves while the list was under way.
    gone = [
        known
        for known in list(sink.known(what.resource.kind, what.namespace))
        if known.key not in seen and known.version <= int(version or 0)
    ]
    for known in gone:
        sink.remove(known.key, known.uid)
    return len(gone)
