"""What the rest of the operator may ask of an API server: a small set of verbs over JSON objects.

`hearth.kube.http_api` speaks HTTP; the tests have a second implementation that holds its objects in memory and that is
checked against a real kube-apiserver.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal, Protocol

from hearth.api.base import Json
from hearth.kube.resources import Resource

Propagation = Literal["Background", "Foreground", "Orphan"]

CREATE_ONLY = "1"
"""A resourceVersion that no stored object has (etcd starts above it).

An apply that carries it creates the object, and fails with a conflict where the name is taken: server-side apply has no
other way to say "must not exist", and without it a forced apply takes over whatever has the name.
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A chunk of a list. `resource_version` is where to watch from once the last page is read."""

    items: tuple[Json, ...]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Json


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a kind to list or watch."""

    resource: Resource
    namespace: str = ""
    """Empty: all namespaces."""
    labels: str = ""
    """A label selector, evaluated by the server."""
    fields: str = ""
    """A field selector, evaluated by the server."""
    metadata_only: bool = False
    """Ask for PartialObjectMetadata: apiVersion, kind and metadata."""


class Api(Protocol):
    """The verbs. All raise `hearth.kube.errors.ApiError`, or `ConnectionFailedError` after the last try."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """One object, fresh from the server."""
        ...

    async def get_metadata(self, resource: Resource, namespace: str, name: str) -> Json:
        """The apiVersion, kind and metadata of one object: all that is asked of a Secret."""
        ...

    def list(self, what: Selection) -> AsyncIterator[Page]:
        """All objects, in chunks; raises `GoneError` when a chunk comes too late."""
        ...

    def watch(self, what: Selection, resource_version: str) -> AsyncIterator[WatchEvent]:
        """Changes since `resource_version`, until the server ends the stream; raises `GoneError`."""
        ...

    async def apply(self, resource: Resource, obj: Json, manager: str) -> Json:
        """Server-side apply, forced. uid and resourceVersion in the metadata are preconditions."""
        ...

    async def apply_status(self, resource: Resource, obj: Json, manager: str) -> Json:
        """Server-side apply of the status subresource, forced. resourceVersion is a precondition, uid is not."""
        ...

    async def create(self, resource: Resource, obj: Json) -> Json:
        """Creates an object; raises `ConflictError` where it exists."""
        ...

    async def replace(self, resource: Resource, obj: Json) -> Json:
        """Replaces an object, if its resourceVersion is still the one in `obj`."""
        ...

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Json) -> Json:
        """A JSON merge patch."""
        ...

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, propagation: Propagation = "Background"
    ) -> None:
        """Deletes the object with this uid; nothing happens where it is gone already."""
        ...
