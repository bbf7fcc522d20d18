"""Configuration files of a node's components, as text. Pure: nothing here touches the machine."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hearth_cluster.addresses import DNS_ADDRESS, DOMAIN, POD_SUBNET
from hearth_cluster.errors import ClusterError

REGISTRY = "registry.hearth.internal"
"""How image references name the cluster's own registry, whatever its address is."""

REGISTRY_PORT = 5000
DNS_PORT = 53
PAUSE_IMAGE = "localhost/hearth/pause:1"

SOCKET_PATH_BYTES = 107
"""Of a Unix socket (unix(7))."""

_STATE_SOCKETS = ("kubelet/plugins_registry/csi.sock", "kubelet/pod-resources/kubelet.sock")
"""The storage driver's, which the kubelet finds there, and the kubelet's own."""


@dataclass(frozen=True)
class NodeFiles:
    """Where the files of one node are."""

    state: Path
    """Kept until `down`: PKI, etcd, the kubelet's folder, logs."""
    run: Path
    """Gone with a reboot: sockets, containerd's runtime state. Short, for a socket's path has 107 bytes at most."""
    images: Path
    """containerd's root: images and their snapshots."""
    registry: Path
    """The registry's blobs, shared by all clusters of the machine."""

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def config(self) -> Path:
        """Folder of the files rendered here."""
        return self.state / "config"


def require_short(state: Path) -> None:
    """Raises ClusterError if sockets below a cluster's state folder would have longer paths than Linux allows."""
    longest = SOCKET_PATH_BYTES - max(len(f"/{socket}") for socket in _STATE_SOCKETS)
    found = len(os.fsencode(state))
    if found > longest:
        raise ClusterError(
            f"{state} has {found} bytes, and a node's state folder may have {longest}: the kubelet's sockets are below "
            f"it, and Linux allows their paths {SOCKET_PATH_BYTES}; choose a shorter --name, or set XDG_STATE_HOME to "
            "a shorter folder"
        )


def containerd(files: NodeFiles, cni_programs: Path, programs: Path) -> str:
    """containerd's configuration (TOML, version 3).

    `restrict_oom_score_adj`: a machine without CAP_SYS_RESOURCE could not start a single pod otherwise.
    NRI is off because its socket is the same for every containerd of the machine.
    """
    return f"""\
version = 3
root = "{files.images}"
state = "{files.run}/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{files.containerd_socket}"

[ttrpc]
address = "{files.containerd_socket}.ttrpc"

[plugins.'io.containerd.internal.v1.opt']
path = "{files.state}/opt"

[plugins.'io.containerd.shim.v1.manager']
socket_dir = "{files.run}/s"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
max_concurrent_downloads = 4
discard_unpacked_layers = true

[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"

[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{files.config}/certs.d"

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{cni_programs}"]
conf_dir = "{files.config}/cni"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{programs}/containerd-shim-runc-v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def registry_hosts(address: str) -> str:
    """containerd's hosts.toml for `REGISTRY`: the same name means another address in every cluster."""
    url = f"http://{address}:{REGISTRY_PORT}"
    return f'server = "{url}"\n\n[host."{url}"]\ncapabilities = ["pull", "resolve"]\n'


def registry(files: NodeFiles, address: str) -> str:
    """The registry's configuration: plain http on the node's own address, blobs in the cache."""
    return _yaml(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(files.registry)},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": {"addr": f"{address}:{REGISTRY_PORT}"},
        }
    )


def cni(files: NodeFiles) -> str:
    """One bridge for all pods. This network plugin does not enforce NetworkPolicies."""
    ipam = {
        "type": "host-local",
        "dataDir": str(files.run / "cni"),
        "ranges": [[{"subnet": POD_SUBNET}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": ipam,
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "1.0.0", "name": "hearth", "plugins": plugins}, indent=2)


def kubelet(files: NodeFiles, cgroup: str) -> str:
    """The kubelet's configuration.

    A node of a laptop or a build machine: swap and cgroups version 1 are accepted, nothing is reserved for the
    system, and images stay until the cluster goes.
    """
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(files.state / "pki" / "ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{cgroup}",
            "clusterDNS": [DNS_ADDRESS],
            "clusterDomain": DOMAIN,
            "containerRuntimeEndpoint": f"unix://{files.containerd_socket}",
            "enforceNodeAllocatable": [],
            "evictionHard": {"memory.available": "100Mi"},
            "failCgroupV1": False,
            "failSwapOn": False,
            "imageGCHighThresholdPercent": 100,
            "maxParallelImagePulls": 3,
            "podLogsDir": str(files.state / "pod-logs"),
            "resolvConf": str(files.config / "resolv.conf"),
            "serializeImagePulls": False,
            # The default of a minute is made for nodes with a hundred pods; here somebody waits for a volume to grow.
            "syncFrequency": "10s",
            "volumePluginDir": str(files.state / "volume-plugins"),
        }
    )


def kube_proxy(files: NodeFiles) -> str:
    """kube-proxy's configuration. Connection tracking limits belong to the machine, not to this namespace."""
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": {"kubeconfig": str(files.state / "kube-proxy.conf")},
            "clusterCIDR": POD_SUBNET,
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
            "mode": "iptables",
        }
    )


def corefile(files: NodeFiles, address: str) -> str:
    """CoreDNS for the cluster's zone. Any other name does not exist, at once: nothing outside can be reached.

    Two servers, because in one of them CoreDNS would ask `template` before `kubernetes`, whatever their order here.
    """
    return f"""\
{DOMAIN}:{DNS_PORT} in-addr.arpa:{DNS_PORT} ip6.arpa:{DNS_PORT} {{
    bind {address}
    errors
    ready {address}:8181
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig "{files.state / "coredns.conf"}"
        pods insecure
        ttl 5
    }}
}}
.:{DNS_PORT} {{
    bind {address}
    template ANY ANY . {{
        rcode NXDOMAIN
    }}
}}
"""


def dns_objects(address: str) -> list[dict[str, Any]]:
    """The Service kube-dns, whose one endpoint is CoreDNS on the node itself, and what CoreDNS may read."""
    ports = [{"name": name, "port": DNS_PORT, "protocol": protocol} for name, protocol in _DNS_PROTOCOLS]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": DNS_ADDRESS, "ports": ports},
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": ports,
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "system:coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
        ],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "system:coredns"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}],
    }
    return [role, binding, service, endpoints]


_DNS_PROTOCOLS = (("dns", "UDP"), ("dns-tcp", "TCP"))


def resolv_conf() -> str:
    """What the kubelet hands to pods with the policy Default, and to itself: the cluster's own DNS."""
    return f"nameserver {DNS_ADDRESS}\n"


def rendered(files: NodeFiles, address: str, cgroup: str, cni_programs: Path, programs: Path) -> dict[str, str]:
    """Every file by its path below `files.config`."""
    return {
        "containerd.toml": containerd(files, cni_programs, programs),
        f"certs.d/{REGISTRY}/hosts.toml": registry_hosts(address),
        "registry.yaml": registry(files, address),
        "cni/10-hearth.conflist": cni(files),
        "kubelet.yaml": kubelet(files, cgroup),
        "kube-proxy.yaml": kube_proxy(files),
        "Corefile": corefile(files, address),
        "resolv.conf": resolv_conf(),
    }


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)
