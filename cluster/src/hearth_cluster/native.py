"""The `node` profile without Docker: control plane, node, registry and storage in a network namespace of their own.

Linux and root. The components are plain processes; `hearth-cluster status` lists them with their logs.
"""

from __future__ import annotations

import fcntl
import ipaddress
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hearth_cluster import (
    binaries,
    bootstrap,
    cgroups,
    csi_driver,
    image_store,
    loops,
    mounts,
    node,
    node_config,
    pause,
    pki,
    preflight,
    storage,
    subnets,
)
from hearth_cluster.cluster import Cluster
from hearth_cluster.controlplane import ControlPlane, wait_for
from hearth_cluster.errors import ClusterError
from hearth_cluster.network import NodeNetwork
from hearth_cluster.node import Node
from hearth_cluster.node_config import NodeFiles
from hearth_cluster.paths import cache_dir, clusters_dir, source_dir
from hearth_cluster.ports import listens
from hearth_cluster.processes import Command, Supervisor, run_checked
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState, all_clusters
from hearth_cluster.tools import CONTROL_PLANE_TOOLS

PROFILE = "node"
PROVIDER = "native"


def up(state: ClusterState, progress: Progress, *, owned: bool = False) -> Cluster:
    """Brings the node up, or back up: whatever of it is missing or does not run is made or started.

    `owned` ties it to the calling process: once that process is gone, `lifecycle.reap` removes the cluster.
    """
    state.require_profile(PROFILE)
    node_config.require_short(state.folder)
    preflight.require(PROFILE)
    programs = dict(binaries.tools([*CONTROL_PLANE_TOOLS, *node.NODE_TOOLS, *storage.PROGRAMS], progress))
    programs[csi_driver.NAME] = csi_driver.program(progress)
    pause_image = pause.archive()
    _settle(state, owned=owned)
    parts = Node(programs, _files(state), _network(state))
    with progress.step("making the node's network, mounts and cgroups"):
        _prepare(state, parts)
    cluster = _start(state, parts, pause_image, progress)
    with progress.step("starting block storage"):
        storage.start(cluster, _storage(state, parts), Supervisor(state.folder))
    _apply_manifests(cluster)
    return cluster


def _settle(state: ClusterState, *, owned: bool) -> None:
    """Records what this cluster alone uses on the machine: a network and an image store."""
    with _choosing():
        others = [other.settings() for other in all_clusters() if other.name != state.name]
        if "network" not in state.settings():
            recorded = [ipaddress.IPv4Network(found["network"]) for found in others if "network" in found]
            network = subnets.choose(state.name, [*recorded, *subnets.routed()])
            _refuse_a_namesake(NodeNetwork(state.name, network))
            store = image_store.choose(found.get("images", "") for found in others)
            state.update(profile=PROFILE, provider=PROVIDER, network=str(network), images=str(store))
        state.own(owned=owned)


def _refuse_a_namesake(network: NodeNetwork) -> None:
    """Two users' clusters of one name would be one in all that has its name on the machine, and end each other.

    Raises:
        ClusterError: the namespace of a new cluster is there already.
    """
    if network.exists():
        raise ClusterError(
            f"the network namespace {network.namespace} is there, and no cluster in {clusters_dir()} has made it: "
            "choose another --name if it is another user's (sudo may have another HOME), or set XDG_STATE_HOME to that "
            f"of its cluster; if its state is lost: ip netns delete {network.namespace}"
        )


@contextmanager
def _choosing() -> Iterator[None]:
    """One at a time, or two clusters that come up together would choose the same."""
    clusters_dir().mkdir(parents=True, exist_ok=True)
    with (clusters_dir() / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _files(state: ClusterState) -> NodeFiles:
    return NodeFiles(
        state=state.folder,
        run=Path("/run/hearth") / state.name,
        images=Path(state.settings()["images"]),
        registry=cache_dir() / "registry",
    )


def _network(state: ClusterState) -> NodeNetwork:
    return NodeNetwork(state.name, ipaddress.IPv4Network(state.settings()["network"]))


def _storage(state: ClusterState, parts: Node) -> storage.Storage:
    return storage.Storage(
        programs=parts.binaries,
        folder=state.folder / "volumes",
        socket=parts.files.run / "csi.sock",
        kubelet_root=parts.files.kubelet,
        node=parts.network.namespace,
        kubeconfig=state.kubeconfig,
        prefix=parts.network.prefix,
    )


def _prepare(state: ClusterState, parts: Node) -> None:
    files, network = parts.files, parts.network
    network.ensure()
    cgroups.ensure(network.namespace)
    mounts.ensure_shared(files.kubelet)
    for folder in (files.run, files.images, files.registry):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    texts = node_config.rendered(
        files, network.address, network.namespace, preflight.cni_programs(), parts.binaries["containerd"].parent
    )
    for name, text in texts.items():
        path = files.config / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (state.folder / "registry").write_text(f"{network.address}:{node_config.REGISTRY_PORT}\n")


def _start(state: ClusterState, parts: Node, pause_image: Path, progress: Progress) -> Cluster:
    supervisor = Supervisor(state.folder)
    plane = ControlPlane(parts.binaries, state.folder, node.addresses(parts.network), parts.network.prefix)
    bootstrap.write_pki(state, plane)
    for user, name in (("system:kube-proxy", "kube-proxy"), ("system:coredns", "coredns")):
        pki.ensure_user(parts.binaries["kubeadm"], state.folder, user, name)

    def runtime() -> None:
        supervisor.ensure(parts.registry())
        supervisor.ensure(parts.containerd())
        _import_pause(parts, pause_image, supervisor)

    with progress.step("starting the control plane and the container runtime"):
        cluster = bootstrap.start(state, plane, runtime)
    with progress.step("starting the node"):
        cluster.apply(*node_config.dns_objects(parts.network.address))
        for component in (parts.coredns(), parts.kubelet(), parts.kube_proxy()):
            supervisor.ensure(component)
        _await_node(lambda: _ready(cluster, parts), supervisor)
    return cluster


def _await_node(ready: Callable[[], bool], supervisor: Supervisor) -> None:
    """Waits until the node is Ready. It would be without names and Services as well, so these must run too."""
    names = ("kubelet", "containerd", "coredns", "kube-proxy")
    wait_for(ready, "the node to be Ready", supervisor, names)
    for name in names:
        supervisor.require(name)


def _import_pause(parts: Node, archive: Path, supervisor: Supervisor) -> None:
    command: Command = [
        parts.binaries["ctr"],
        "--address",
        parts.files.containerd_socket,
        "--namespace",
        "k8s.io",
        "images",
    ]
    endpoint = parts.files.containerd_socket
    wait_for(lambda: listens(endpoint), f"containerd to listen on {endpoint}", supervisor, ("containerd",))
    if node_config.PAUSE_IMAGE not in run_checked([*command, "list", "--quiet"]).split():
        run_checked([*command, "import", archive])


def _ready(cluster: Cluster, parts: Node) -> bool:
    nodes = cluster.get("nodes")["items"]
    conditions = [
        condition
        for item in nodes
        if item["metadata"]["name"] == parts.network.namespace
        for condition in item["status"].get("conditions", [])
    ]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _apply_manifests(cluster: Cluster) -> None:
    """Whatever a cluster shall have from the start: the YAML files directly in `cluster/manifests`."""
    files = sorted((source_dir() / "manifests").glob("*.yaml"))
    if files:
        words = [word for path in files for word in ("--filename", str(path))]
        cluster.kubectl("apply", "--server-side", "--force-conflicts", *words)


def down(state: ClusterState, progress: Progress) -> None:
    """Removes the cluster: processes, containers, mounts, loop devices, cgroups, namespace, link, files.

    Images and binaries stay in the cache.
    """
    with progress.step(f"taking {state.name} down"):
        supervisor = Supervisor(state.folder)
        # The driver first: it freezes a file system while it copies it, and who waits for that one can't be killed.
        supervisor.stop(["csi-driver"], seconds=3)
        mounts.thaw(loops.below(state.folder.resolve(), loops.attached()))
        supervisor.stop([name for name in supervisor.names() if name != "containerd"], seconds=3)
        network, files = _network(state), _files(state)
        cgroups.remove(network.namespace)
        tidy = _tidy(supervisor, files)
        supervisor.stop(["containerd"], seconds=5)
        network.kill_processes()
        # Before the mounts go as well: a device over a bind mount, as the kubelet makes, is called "/" after it.
        loops.detach_below(state.folder)
        mounts.unmount_below(state.folder, files.run, files.images)
        loops.detach_below(state.folder)
        if not tidy:
            # A store with traces of containers would trouble the next cluster; images can be pulled again.
            shutil.rmtree(files.images, ignore_errors=True)
        network.remove()
        shutil.rmtree(files.run, ignore_errors=True)
        _remove_log_links(state.folder)
        state.remove()


def _tidy(supervisor: Supervisor, files: NodeFiles) -> bool:
    """Leaves only images in the store, if it can: ctr is not built for it, since `down` must work without Go too."""
    if not supervisor.running("containerd") or binaries.missing(["ctr"]):
        return False
    return image_store.tidy(binaries.tool("ctr"), files.containerd_socket)


def _remove_log_links(folder: Path) -> None:
    """The kubelet leaves links to its logs in a folder of the whole machine."""
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(folder):
            link.unlink()
