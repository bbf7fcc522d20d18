"""kopf as a watch shell: login, watching and nothing else of it.

`on.event` alone makes kopf write nothing: no annotation, no finalizer, no patch. Each setting below switches off a part
that would; docs/decisions/0001 has the reasons.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Any, cast

import kopf

from hearth.kube.cache import WatchCache
from hearth.kube.credentials import TOKEN_AGE, Credentials
from hearth.kube.http_api import PAGE
from hearth.kube.resources import Resource
from hearth.plan.world import key_of


class WatchShell:
    """Feeds the custom resources into the cache."""

    def __init__(
        self, credentials: Credentials, resources: Sequence[Resource], namespaces: Iterable[str], cache: WatchCache
    ) -> None:
        self._credentials = credentials
        self._namespaces = tuple(namespaces)
        self._cache = cache
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        """Set once kopf has started its watches, and with them its own signal handlers."""
        self._registry = kopf.OperatorRegistry()
        kopf.on.login(registry=self._registry)(self._login)
        for resource in resources:
            kopf.on.event(resource.group, resource.version, resource.plural, registry=self._registry)(self._seen)

    async def run(self) -> None:
        """Watches until `stop`."""
        await kopf.operator(
            registry=self._registry,
            settings=quiet_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=self._stop,
            ready_flag=self.ready,
        )

    def stop(self) -> None:
        """Ends `run`."""
        self._stop.set()

    async def _seen(self, event: Any, **_: Any) -> None:
        # kopf marks what it found in its first list with type None. It does not tell of what vanished while a watch was
        # down; the periodic resync does.
        obj = dict(event["object"])
        if event["type"] == "DELETED":
            self._cache.remove(key_of(obj), obj["metadata"]["uid"])
        else:
            self._cache.put(obj)

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        c = self._credentials
        # kopf logs in again when what it has was refused or has expired.
        c.forget_token()
        token = await c.bearer()
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=TOKEN_AGE)
        return kopf.ConnectionInfo(
            server=c.server,
            ca_path=c.ca_file,
            ca_data=c.ca_data,
            insecure=not c.verify,
            scheme="Bearer" if token else None,
            token=token,
            certificate_data=c.certificate,
            private_key_data=c.key,
            default_namespace=c.namespace,
            expiration=expires if c.in_cluster else None,
        )


class NothingRemembered(kopf.DiffBaseStorage):
    """kopf copies every object at every event to find out what changed, even where nobody asks for that."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002 - kopf's names
        """An empty essence."""
        return cast(kopf.BodyEssence, {})

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - kopf's names
        """The same empty essence: nothing ever differs."""
        return cast(kopf.BodyEssence, {})

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Stores nothing."""


def quiet_settings() -> kopf.OperatorSettings:
    """Settings under which kopf writes nothing, keeps little and reconnects by itself."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.persistence.finalizer = "hearth.dev/unused"
    settings.persistence.diffbase_storage = NothingRemembered()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix="hearth.dev", v1=False)
    # A worker keeps its slot while it idles, so a limit without a short idle time starves the others.
    settings.queueing.worker_limit = 200
    settings.queueing.idle_timeout = 0.1
    settings.watching.chunk_size = PAGE
    settings.watching.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.execution.max_workers = 2
    settings.process.ultimate_exiting_timeout = 25
    return settings
