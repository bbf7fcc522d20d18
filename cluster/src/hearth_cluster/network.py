"""The node's network namespace and the one link that joins it to this machine.

The namespace has no default route: no packet of the cluster can leave the machine, and a try to do so fails at once
instead of after a timeout.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from hearth_cluster import subnets
from hearth_cluster.addresses import SERVICE_SUBNET
from hearth_cluster.processes import run_checked

_NAMESPACES = Path("/run/netns")


@dataclass(frozen=True)
class NodeNetwork:
    """The network of one cluster's node."""

    name: str
    """The cluster's."""
    network: subnets.Network

    @property
    def namespace(self) -> str:
        return f"hearth-{self.name}"

    @property
    def link(self) -> str:
        """This machine's end of the veth pair; the kernel allows 15 characters."""
        return f"hearth-{zlib.crc32(self.name.encode()):08x}"

    @property
    def address(self) -> str:
        return subnets.node_address(self.network)

    @property
    def host(self) -> str:
        return subnets.host_address(self.network)

    @property
    def prefix(self) -> tuple[str, ...]:
        """Command that runs another one in the namespace.

        nsenter rather than `ip netns exec`, which mounts a new /sys over the cgroup hierarchies: the kubelet then
        finds none.
        """
        return ("nsenter", f"--net={_NAMESPACES / self.namespace}")

    def exists(self) -> bool:
        return (_NAMESPACES / self.namespace).exists()

    def ensure(self) -> None:
        """Makes whatever is missing of namespace, link, addresses and routes."""
        if not self.exists():
            run_checked(["ip", "netns", "add", self.namespace])
        links = json.loads(run_checked(["ip", "-json", "link", "show"]))
        if not any(link["ifname"] == self.link for link in links):
            pair = ["type", "veth", "peer", "name", "eth0", "netns", self.namespace]
            run_checked(["ip", "link", "add", self.link, *pair])
        width = self.network.prefixlen
        run_checked(["ip", "address", "replace", f"{self.host}/{width}", "dev", self.link])
        run_checked(["ip", "link", "set", self.link, "up"])
        self._inside("ip", "link", "set", "lo", "up")
        self._inside("ip", "address", "replace", f"{self.address}/{width}", "dev", "eth0")
        self._inside("ip", "link", "set", "eth0", "up")
        # Service addresses need some route, or the kernel refuses them before kube-proxy's rules are asked.
        self._inside("ip", "route", "replace", SERVICE_SUBNET, "via", self.host)
        # Pods are on the node's bridge, and what they send to a Service must pass kube-proxy's rules on both ways.
        self._inside("sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self._inside("sysctl", "-q", "-w", "net.bridge.bridge-nf-call-iptables=1")

    def _inside(self, *command: str) -> None:
        run_checked([*self.prefix, *command])

    def kill_processes(self) -> None:
        """Ends every process that still runs in the namespace: shims, and whatever a user started there."""
        if not self.exists():
            return
        for word in run_checked(["ip", "netns", "pids", self.namespace]).split():
            try:
                os.kill(int(word), signal.SIGKILL)
            except ProcessLookupError:
                continue

    def remove(self) -> None:
        """Deletes namespace and link; missing ones are no error."""
        subprocess.run(["ip", "link", "delete", self.link], capture_output=True, check=False)
        if self.exists():
            run_checked(["ip", "netns", "delete", self.namespace])
