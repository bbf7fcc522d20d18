"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their command lines and their start in order."""

from __future__ import annotations

import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth_cluster.addresses import POD_SUBNET, ControlPlaneAddresses
from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import Component, Supervisor

READY_SECONDS = 90.0
POLL_SECONDS = 0.1
_QPS, _BURST = "300", "600"
"""Requests per second of each controller. The default of 20 is made for large clusters with many; here it would only
make a thousand resources wait for the Deployment controller."""


@dataclass(frozen=True)
class ControlPlane:
    """What it takes to write the command lines of one control plane."""

    binaries: Mapping[str, Path]
    folder: Path
    addresses: ControlPlaneAddresses
    prefix: tuple[str, ...] = ()
    """Command in front of every component, such as nsenter into the cluster's network namespace."""

    def _pki(self, name: str) -> str:
        return str(self.folder / "pki" / name)

    def _component(self, name: str, flags: Sequence[str]) -> Component:
        return Component(name, (*self.prefix, str(self.binaries[name]), *flags))

    def etcd(self) -> Component:
        """etcd on loopback with mutual TLS. Its file syncs are off: a cluster here is not kept over a power cut."""
        at = self.addresses
        client, peer = f"https://127.0.0.1:{at.etcd_client}", f"https://127.0.0.1:{at.etcd_peer}"
        tls = [
            f"--cert-file={self._pki('etcd/server.crt')}",
            f"--key-file={self._pki('etcd/server.key')}",
            f"--trusted-ca-file={self._pki('etcd/ca.crt')}",
            "--client-cert-auth=true",
            f"--peer-cert-file={self._pki('etcd/peer.crt')}",
            f"--peer-key-file={self._pki('etcd/peer.key')}",
            f"--peer-trusted-ca-file={self._pki('etcd/ca.crt')}",
            "--peer-client-cert-auth=true",
        ]
        urls = [
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        ]
        data = [f"--data-dir={self.folder / 'etcd'}", "--unsafe-no-fsync=true", "--quota-backend-bytes=4294967296"]
        return self._component("etcd", [*data, *urls, *tls])

    def api_server(self) -> Component:
        """kube-apiserver with Node and RBAC authorization."""
        at = self.addresses
        flags = {
            "advertise-address": at.host,
            "bind-address": at.host,
            "secure-port": str(at.api_server),
            "allow-privileged": "true",
            "authorization-mode": "Node,RBAC",
            "client-ca-file": self._pki("ca.crt"),
            "enable-admission-plugins": "NodeRestriction",
            "enable-bootstrap-token-auth": "false",
            "etcd-cafile": self._pki("etcd/ca.crt"),
            "etcd-certfile": self._pki("apiserver-etcd-client.crt"),
            "etcd-keyfile": self._pki("apiserver-etcd-client.key"),
            "etcd-servers": f"https://127.0.0.1:{at.etcd_client}",
            "kubelet-client-certificate": self._pki("apiserver-kubelet-client.crt"),
            "kubelet-client-key": self._pki("apiserver-kubelet-client.key"),
            "kubelet-preferred-address-types": "InternalIP,Hostname",
            "proxy-client-cert-file": self._pki("front-proxy-client.crt"),
            "proxy-client-key-file": self._pki("front-proxy-client.key"),
            "requestheader-allowed-names": "front-proxy-client",
            "requestheader-client-ca-file": self._pki("front-proxy-ca.crt"),
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-username-headers": "X-Remote-User",
            "service-account-issuer": f"https://kubernetes.default.svc.{at.domain}",
            "service-account-key-file": self._pki("sa.pub"),
            "service-account-signing-key-file": self._pki("sa.key"),
            "service-cluster-ip-range": at.service_subnet,
            "tls-cert-file": self._pki("apiserver.crt"),
            "tls-private-key-file": self._pki("apiserver.key"),
        }
        return self._component("kube-apiserver", _flags(flags))

    def controller_manager(self) -> Component:
        """kube-controller-manager, alone and so without leader election."""
        conf = str(self.folder / "controller-manager.conf")
        flags = {
            "authentication-kubeconfig": conf,
            "authorization-kubeconfig": conf,
            "bind-address": "127.0.0.1",
            "client-ca-file": self._pki("ca.crt"),
            "cluster-cidr": POD_SUBNET,
            "cluster-name": "hearth",
            "cluster-signing-cert-file": self._pki("ca.crt"),
            "cluster-signing-key-file": self._pki("ca.key"),
            "kube-api-burst": _BURST,
            "kube-api-qps": _QPS,
            "kubeconfig": conf,
            "leader-elect": "false",
            "requestheader-client-ca-file": self._pki("front-proxy-ca.crt"),
            "root-ca-file": self._pki("ca.crt"),
            "secure-port": str(self.addresses.controller_manager),
            "service-account-private-key-file": self._pki("sa.key"),
            "service-cluster-ip-range": self.addresses.service_subnet,
            "use-service-account-credentials": "true",
        }
        return self._component("kube-controller-manager", _flags(flags))

    def scheduler(self) -> Component:
        """kube-scheduler, alone and so without leader election."""
        conf = str(self.folder / "scheduler.conf")
        flags = {
            "authentication-kubeconfig": conf,
            "authorization-kubeconfig": conf,
            "bind-address": "127.0.0.1",
            "kube-api-burst": _BURST,
            "kube-api-qps": _QPS,
            "kubeconfig": conf,
            "leader-elect": "false",
            "secure-port": str(self.addresses.scheduler),
        }
        return self._component("kube-scheduler", _flags(flags))

    @property
    def url(self) -> str:
        """Where the API is served."""
        return f"https://{self.addresses.host}:{self.addresses.api_server}"

    def api_ready(self) -> bool:
        """Whether the API server says that it and its first roles are ready."""
        trust = ssl.create_default_context(cafile=self._pki("ca.crt"))
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            with direct.open(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _flags(values: Mapping[str, str]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]


def start_storage_and_api(plane: ControlPlane, supervisor: Supervisor) -> None:
    """Starts etcd and the API server, or whichever of them does not run, without waiting for them."""
    supervisor.ensure(plane.etcd())
    supervisor.ensure(plane.api_server())


def start_controllers(plane: ControlPlane, supervisor: Supervisor) -> None:
    """Waits for the API server and starts the controller manager and the scheduler.

    They come after the API server's bootstrap roles: started earlier, the controller manager exits because it may
    not read what it needs.
    """
    wait_for(plane.api_ready, "the API server to be ready", supervisor, ("etcd", "kube-apiserver"))
    supervisor.ensure(plane.controller_manager())
    supervisor.ensure(plane.scheduler())


def wait_for(
    condition: Callable[[], bool],
    what: str,
    supervisor: Supervisor,
    components: Sequence[str] = (),
    seconds: float = READY_SECONDS,
) -> None:
    """Polls until `condition` holds.

    Raises:
        ClusterError: a component that it depends on has ended (its last log lines are in the message), or time is up.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        for name in components:
            supervisor.require(name)
        if time.monotonic() > deadline:
            tails = "\n".join(f"--- {supervisor.log(name)}\n{supervisor.tail(name)}" for name in components)
            raise ClusterError(f"waited {seconds:.0f} s for {what}\n{tails}")
        time.sleep(POLL_SECONDS)
