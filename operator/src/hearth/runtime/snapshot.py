"""What is there at one moment, gathered once: for commands that look and write nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hearth.api.base import Json
from hearth.kube.api import Api, Selection
from hearth.kube.cache import SELECTOR, WatchCache
from hearth.kube.lookups import Lookups
from hearth.kube.reflector import relist
from hearth.kube.resources import (
    APPLIED,
    CONFIG_MAP,
    FOLLOWED,
    REPLICA_SET,
    SURROUNDINGS,
    Resource,
    ResourceTable,
    hearth_resource,
)
from hearth.plan.settings import Settings
from hearth.plan.world import KindPlan, ObjectKey, World

AUTHORITY = "ca.crt"
"""Key of the ConfigMaps of training and indexing pods that holds it."""


def empty_cache(kinds: Sequence[KindPlan], settings: Settings) -> WatchCache:
    """A cache that wakes nobody."""
    return WatchCache(kinds, settings, lambda _key, _now: None)


async def fill(api: Api, cache: WatchCache, namespace: str) -> None:
    """Lists the Hearth resources of a namespace, their children, nodes and StorageClasses into the cache."""
    children = [
        Selection(resource, namespace, labels=SELECTOR, metadata_only=resource is REPLICA_SET)
        for resource in (*APPLIED, *FOLLOWED)
    ]
    await asyncio.gather(*(relist(api, what, cache) for what in (*children, *map(Selection, SURROUNDINGS))))
    for resource in custom_resources(cache):
        await relist(api, Selection(resource, namespace), cache)


def take_authority(cache: WatchCache) -> None:
    """Puts the certificate that pods were handed into the settings: the running operator's, which is in no file.

    Without it every configuration of a pod would seem to change. Where no pod has one yet, nothing is compared with it.
    """
    configs = cache.store.objects(cache.store.keys(CONFIG_MAP.kind))
    handed = next((text for c in configs if (text := (c.get("data") or {}).get(AUTHORITY))), None)
    if handed is not None and not cache.settings.progress_ca:
        cache.settings = cache.settings.model_copy(update={"progress_ca": handed})


async def observe(api: Api, cache: WatchCache, key: ObjectKey) -> World:
    """The world of an owner that the cache holds, with what its plan asks for by name read from the server."""
    lookups = Lookups(api, ResourceTable(custom_resources(cache)), cache)
    return _world(cache, key, await lookups.related(cache.needs(key)))


def observe_offline(cache: WatchCache, key: ObjectKey) -> World:
    """The same from the cache alone: what it does not hold does not exist."""
    return _world(cache, key, {needed: cache.store.get(needed) for needed in cache.needs(key)})


def custom_resources(cache: WatchCache) -> tuple[Resource, ...]:
    """The resources of the cache's Hearth kinds."""
    return tuple(hearth_resource(kind.kind, kind.plural) for kind in cache.kinds.values())


def _world(cache: WatchCache, key: ObjectKey, related: dict[ObjectKey, Json | None]) -> World:
    world = cache.observe(key, related)
    if world is None:
        raise LookupError(f"{key.kind} {key.namespace}/{key.name} is not in the cache")
    return world
