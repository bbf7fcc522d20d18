"""The node's components: their command lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth_cluster.addresses import ControlPlaneAddresses
from hearth_cluster.network import NodeNetwork
from hearth_cluster.node_config import NodeFiles
from hearth_cluster.processes import Component, search_path

NODE_TOOLS = (
    "kubelet",
    "kube-proxy",
    "containerd",
    "containerd-shim-runc-v2",
    "ctr",
    "coredns",
    "registry",
)


def addresses(network: NodeNetwork) -> ControlPlaneAddresses:
    """A namespace of its own leaves every port free: the well-known ones are taken."""
    return ControlPlaneAddresses(
        host=network.address,
        api_server=6443,
        etcd_client=2379,
        etcd_peer=2380,
        controller_manager=10257,
        scheduler=10259,
        node_name=network.namespace,
    )


@dataclass(frozen=True)
class Node:
    """What it takes to write the command lines of one node."""

    binaries: Mapping[str, Path]
    files: NodeFiles
    network: NodeNetwork

    def _component(self, name: str, config: str, flags: Sequence[str]) -> Component:
        path = f"{self.binaries['containerd'].parent}:{search_path()}"  # the shim is beside containerd
        argv = (*self.network.prefix, str(self.binaries[name]), *flags)
        return Component(name, argv, {"PATH": path}, (self.files.config / config,))

    def _config(self, name: str) -> str:
        return str(self.files.config / name)

    def containerd(self) -> Component:
        return self._component("containerd", "containerd.toml", ["--config", self._config("containerd.toml")])

    def registry(self) -> Component:
        return self._component("registry", "registry.yaml", ["serve", self._config("registry.yaml")])

    def coredns(self) -> Component:
        return self._component("coredns", "Corefile", ["-conf", self._config("Corefile")])

    def kube_proxy(self) -> Component:
        flags = [f"--config={self._config('kube-proxy.yaml')}", f"--hostname-override={self.network.namespace}"]
        return self._component("kube-proxy", "kube-proxy.yaml", flags)

    def kubelet(self) -> Component:
        flags = [
            f"--config={self._config('kubelet.yaml')}",
            f"--kubeconfig={self.files.state / 'kubelet.conf'}",
            f"--root-dir={self.files.kubelet}",
            f"--cert-dir={self.files.state / 'kubelet-pki'}",
            f"--node-ip={self.network.address}",
            f"--hostname-override={self.network.namespace}",
        ]
        return self._component("kubelet", "kubelet.yaml", flags)
