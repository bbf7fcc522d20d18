"""The operator's own watches: children by label, nodes, StorageClasses, and metadata of what specs may name."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from hearth.kube.api import Api, Selection
from hearth.kube.cache import MANAGED_BY, MANAGER, SELECTOR, WatchCache
from hearth.kube.errors import ApiError, ConnectionFailedError
from hearth.kube.lookups import WATCHED_METADATA, Lookups
from hearth.kube.reflector import Reflector, relist, resync
from hearth.kube.resources import APPLIED, FOLLOWED, REPLICA_SET, SURROUNDINGS, Resource

log = logging.getLogger(__name__)

RESYNC_SECONDS = 600.0
"""Mean time between two comparisons of the cache with a list of metadata."""
RESYNC_JITTER = 0.2
LISTS_AT_ONCE = 2
"""One is decoded while the server writes the other; more would only take memory, which Python seldom gives back."""


class Watches:
    """Starts and supervises the reflectors of one leader's life."""

    def __init__(
        self, api: Api, custom: Sequence[Resource], namespaces: Sequence[str], cache: WatchCache, lookups: Lookups
    ) -> None:
        self._api = api
        self._cache = cache
        self._lookups = lookups
        self._rng = random.Random()  # noqa: S311 - spreads resyncs in time
        scopes = tuple(namespaces) or ("",)
        self._custom = [Selection(resource, scope) for resource in custom for scope in scopes]
        self._children = [
            Selection(resource, scope, labels=SELECTOR, metadata_only=resource is REPLICA_SET)
            for resource in (*APPLIED, *FOLLOWED)
            for scope in scopes
        ]
        self._surroundings = [Selection(resource) for resource in SURROUNDINGS]
        self._lists = asyncio.Semaphore(LISTS_AT_ONCE)
        in_full = (*self._children, *self._surroundings)
        self._reflectors = [Reflector(api, what, cache, lists=self._lists) for what in in_full]
        for resource in WATCHED_METADATA:
            for scope in scopes:
                self._reflectors.append(self._metadata_reflector(resource, scope, lookups))
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Fills the cache, children first, so that no plan ever sees a resource without its children."""
        self._tasks = [
            asyncio.create_task(reflector.run(), name=f"watch-{reflector.what.resource.plural}")
            for reflector in self._reflectors
        ]
        await asyncio.gather(*(reflector.synced.wait() for reflector in self._reflectors))
        for what in self._custom:
            await relist(self._api, what, self._cache)
        self._tasks.append(asyncio.create_task(self._resync_forever(), name="resync"))
        log.info("the cache holds %d objects", len(self._cache.store))

    @property
    def alive(self) -> bool:
        """Whether every watch still runs."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def stop(self) -> None:
        """Ends every watch."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def resync(self) -> int:
        """Compares everything once; returns how many objects differed."""
        mended = 0
        for what in (*self._children, *self._custom, *self._surroundings):
            mended += await resync(self._api, what, self._cache)
        self._lookups.forget_all()
        return mended

    async def _resync_forever(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS * self._rng.uniform(1 - RESYNC_JITTER, 1 + RESYNC_JITTER))
            try:
                mended = await self.resync()
            except (ApiError, ConnectionFailedError) as error:
                log.warning("the resync broke off and comes again: %s", error)
                continue
            if mended:
                log.warning("the resync mended %d objects that the watches had lost", mended)

    def _metadata_reflector(self, resource: Resource, scope: str, lookups: Lookups) -> Reflector:
        what = Selection(resource, scope, labels=f"{MANAGED_BY}!={MANAGER}", metadata_only=True)
        reflector = Reflector(self._api, what, lookups, lists=self._lists)
        reflector.after_gap = lambda: lookups.outdated_kind(resource.kind)
        return reflector
