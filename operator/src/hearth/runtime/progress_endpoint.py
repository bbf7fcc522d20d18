"""Brings the progress endpoint up on the leader: certificate, server, and the leader's address behind the Service."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

from hearth.api.base import Json
from hearth.kube.api import Api
from hearth.kube.cache import WatchCache
from hearth.kube.credentials import Credentials
from hearth.kube.errors import ApiError, ConflictError, ConnectionFailedError
from hearth.kube.resources import ENDPOINT_SLICE, SERVICE
from hearth.plan.settings import Settings
from hearth.plan.world import ObjectKey
from hearth.runtime.progress_server import ProgressServer
from hearth.runtime.progress_tls import MANAGER, Keys, obtain, utc_now

log = logging.getLogger(__name__)

RENEW_SECONDS = 86400.0
"""Between two looks at the certificate of a leader that lives on."""


class ProgressEndpoint:
    """The endpoint of one leader's life."""

    def __init__(
        self,
        api: Api,
        credentials: Credentials,
        cache: WatchCache,
        wake: Callable[[ObjectKey, float], None],
        address: str,
    ) -> None:
        self._api = api
        self._credentials = credentials
        self._cache = cache
        self._address = address
        self._server = ProgressServer(api, cache, wake)
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens, tells the cluster where, and hands the authority to the plans."""
        settings = self._cache.settings
        service, port = service_of(settings)
        keys = await obtain(self._api, settings.namespace, names_of(settings), utc_now())
        context = keys.ssl_context()
        await self._server.start(self._address, port, context)
        self._renewing = asyncio.create_task(self._renew_forever(context), name="renew-certificate")
        self._hand_out(keys)
        if not self._credentials.in_cluster:
            # In a cluster the chart has made the Service, and the operator has no right to.
            await self._require_service(settings.namespace, service, port)
        if ipaddress.ip_address(self._address).is_loopback:
            log.info("no pod can reach %s: progress is received from this machine only", self._address)
            return
        slice_ = endpoint_slice(settings.namespace, service, self._address, port)
        await self._api.apply(ENDPOINT_SLICE, slice_, MANAGER)
        log.info("progress is received at %s:%d", self._address, port)

    async def stop(self) -> None:
        """Stops to listen. The address stays until the next leader writes its own."""
        if self._renewing is not None:
            self._renewing.cancel()
        await self._server.stop()

    async def renew(self, context: ssl.SSLContext) -> None:
        """Writes a new certificate if the present one ends soon or is lost, and presents it without a restart."""
        settings = self._cache.settings
        keys = await obtain(self._api, settings.namespace, names_of(settings), utc_now())
        keys.load_into(context)
        if keys.ca.decode() != settings.progress_ca:
            log.warning(
                "the authority of the progress endpoint is a new one: pods trust it that are started from now on"
            )
            self._hand_out(keys)
            self._cache.wake_all()

    def _hand_out(self, keys: Keys) -> None:
        """Plans put the authority into the configurations of pods."""
        self._cache.settings = self._cache.settings.model_copy(update={"progress_ca": keys.ca.decode()})

    async def _renew_forever(self, context: ssl.SSLContext) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                await self.renew(context)
            except (ApiError, ConnectionFailedError) as error:
                log.warning("the progress certificate could not be looked at, again in a day: %s", error)

    async def _require_service(self, namespace: str, name: str, port: int) -> None:
        service: Json = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"ports": [{"name": "progress", "port": port, "targetPort": port, "protocol": "TCP"}]},
        }
        try:
            await self._api.create(SERVICE, service)
        except ConflictError:
            log.debug("the Service %s exists", name)


def service_of(settings: Settings) -> tuple[str, int]:
    """Name and port of the progress Service, from the URL that pods are given."""
    url = urlsplit(settings.progress_url)
    return (url.hostname or "").partition(".")[0], url.port or 443


def names_of(settings: Settings) -> tuple[str, ...]:
    """The names that the certificate must carry."""
    service, _ = service_of(settings)
    base = f"{service}.{settings.namespace}.svc"
    given = urlsplit(settings.progress_url).hostname or base
    return tuple(dict.fromkeys((given, base, f"{base}.{settings.cluster_domain}")))


def endpoint_slice(namespace: str, service: str, address: str, port: int) -> Json:
    """The one endpoint of the selector-less Service: the leader."""
    version = ipaddress.ip_address(address).version
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.kind,
        "metadata": {
            "name": f"{service}-leader",
            "namespace": namespace,
            "labels": {
                "kubernetes.io/service-name": service,
                "endpointslice.kubernetes.io/managed-by": "hearth.dev",
            },
        },
        "addressType": f"IPv{version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "progress", "port": port, "protocol": "TCP"}],
    }


def address_towards(server: str) -> str:
    """This machine's address as the API server's host would see it; no packet is sent."""
    url = urlsplit(server)
    family, kind, _, _, target = socket.getaddrinfo(url.hostname, url.port or 443, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(target)
        found: str = probe.getsockname()[0]
    return found
