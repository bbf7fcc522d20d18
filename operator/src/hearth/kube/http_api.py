"""The verbs of `hearth.kube.api` over HTTP."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from hearth.api.base import Json
from hearth.kube.api import Page, Propagation, Selection, WatchEvent
from hearth.kube.errors import ConflictError, NotFoundError, from_status
from hearth.kube.resources import Resource
from hearth.kube.transport import Request, Transport
from hearth.kube.wire import decode

PAGE = 100
"""Objects per chunk of a list. Decoded, with all its managedFields, an object takes some 30 KiB for a moment."""
WATCH_SECONDS = (240, 300)
"""The server ends a watch after a random time in this range, so that all of them do not come back together."""

_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA = "application/json;as={kind};g=meta.k8s.io;v=v1,application/json"


class HttpApi:
    """Implements `hearth.kube.api.Api`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def get(self, resource: Resource, namespace: str, name: str) -> Json:
        """See `Api.get`."""
        return await self._json(Request("GET", _object(resource, namespace, name), "get", resource.plural))

    async def get_metadata(self, resource: Resource, namespace: str, name: str) -> Json:
        """See `Api.get_metadata`."""
        accept = _METADATA.format(kind="PartialObjectMetadata")
        request = Request("GET", _object(resource, namespace, name), "get", resource.plural, accept=accept)
        return _typed(await self._json(request), resource)

    async def list(self, what: Selection) -> AsyncIterator[Page]:
        """See `Api.list`."""
        query = {**_selectors(what), "limit": str(PAGE)}
        while True:
            answer = await self._json(_collection(what, "list", query, "PartialObjectMetadataList"))
            items = tuple(_typed(item, what.resource) for item in answer.get("items") or ())
            meta = answer["metadata"]
            yield Page(items, meta["resourceVersion"])
            if not meta.get("continue"):
                return
            query["continue"] = meta["continue"]

    async def watch(self, what: Selection, resource_version: str) -> AsyncIterator[WatchEvent]:
        """See `Api.watch`."""
        query = {
            **_selectors(what),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*WATCH_SECONDS)),  # noqa: S311 - jitter
        }
        async for line in self._transport.lines(_collection(what, "watch", query, "PartialObjectMetadata")):
            event = decode(line)
            if event["type"] == "ERROR":
                raise from_status(event["object"])
            yield WatchEvent(event["type"], _typed(event["object"], what.resource))

    async def apply(self, resource: Resource, obj: Json, manager: str) -> Json:
        """See `Api.apply`."""
        return await self._apply(resource, obj, manager, "")

    async def apply_status(self, resource: Resource, obj: Json, manager: str) -> Json:
        """See `Api.apply_status`."""
        return await self._apply(resource, obj, manager, "status")

    async def _apply(self, resource: Resource, obj: Json, manager: str, subresource: str) -> Json:
        meta = obj["metadata"]
        request = Request(
            "PATCH",
            resource.path(meta.get("namespace", ""), meta["name"], subresource),
            "apply",
            f"{resource.plural}/{subresource}" if subresource else resource.plural,
            query={"fieldManager": manager, "force": "true"},
            body=obj,
            content_type=_APPLY,
        )
        return await self._json(request)

    async def create(self, resource: Resource, obj: Json) -> Json:
        """See `Api.create`."""
        path = resource.path(obj["metadata"].get("namespace", "") if "metadata" in obj else "")
        return await self._json(Request("POST", path, "create", resource.plural, body=obj, repeatable=False))

    async def replace(self, resource: Resource, obj: Json) -> Json:
        """See `Api.replace`."""
        meta = obj["metadata"]
        path = resource.path(meta.get("namespace", ""), meta["name"])
        return await self._json(Request("PUT", path, "update", resource.plural, body=obj))

    async def merge(self, resource: Resource, namespace: str, name: str, patch: Json) -> Json:
        """See `Api.merge`."""
        path = resource.path(namespace, name)
        return await self._json(Request("PATCH", path, "patch", resource.plural, body=patch, content_type=_MERGE))

    async def delete(
        self, resource: Resource, namespace: str, name: str, uid: str, propagation: Propagation = "Background"
    ) -> None:
        """See `Api.delete`."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        try:
            await self._json(Request("DELETE", resource.path(namespace, name), "delete", resource.plural, body=options))
        except (NotFoundError, ConflictError):
            # A conflict means that another object has the name by now: the one asked for is gone.
            return

    async def discover(self, api_version: str) -> frozenset[str]:
        """The plurals that the server serves under `group/version`; empty where it knows no such version."""
        try:
            answer = await self._json(Request("GET", f"/apis/{api_version}", "get", "discovery"))
        except NotFoundError:
            return frozenset()
        return frozenset(entry["name"] for entry in answer["resources"])

    async def lists_version(self, api_version: str) -> bool:
        """Whether `group/version` is in the server's list of groups: it may come there after it is served."""
        answer = await self._json(Request("GET", "/apis", "get", "discovery"))
        return any(v["groupVersion"] == api_version for group in answer["groups"] for v in group["versions"])

    async def _json(self, request: Request) -> Json:
        return decode(await self._transport.send(request))


def _object(resource: Resource, namespace: str, name: str) -> str:
    # No object is called so, and in a URL it would name the collection, or what is above it.
    if name in {"", ".", ".."}:
        raise NotFoundError(404, "NotFound", f'{resource.plural} "{name}" not found')
    return resource.path(namespace, name)


def _collection(what: Selection, verb: str, query: dict[str, str], partial: str) -> Request:
    return Request(
        "GET",
        what.resource.path(what.namespace),
        verb,
        what.resource.plural,
        query=query,
        accept=_METADATA.format(kind=partial) if what.metadata_only else "application/json",
    )


def _selectors(what: Selection) -> dict[str, str]:
    named = {"labelSelector": what.labels, "fieldSelector": what.fields}
    return {name: value for name, value in named.items() if value}


def _typed(item: Json, resource: Resource) -> Json:
    # Items of a list carry no apiVersion and kind, and partial ones carry the wrong kind.
    item["apiVersion"], item["kind"] = resource.api_version, resource.kind
    return item
