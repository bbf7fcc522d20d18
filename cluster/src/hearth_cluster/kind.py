"""The `node` profile where a Docker engine answers: a cluster made by kind, with a registry container beside it.

After https://kind.sigs.k8s.io/docs/user/local-registry/. Block storage is the native provider's: here the class
`hearth-block` stands for kind's own local-path volumes, which neither grow nor have snapshots.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from hearth_cluster import binaries
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.node_config import REGISTRY, REGISTRY_PORT
from hearth_cluster.ports import free_ports
from hearth_cluster.processes import Command, Supervisor, run_checked
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState

PROFILE = "node"
PROVIDER = "kind"
REGISTRY_IMAGE = "docker.io/library/registry:3"
REGISTRY_VOLUME = "hearth-registry"
"""Docker volume with the blobs, shared by all clusters, so that an image is pushed once."""

STORAGE_CLASS: dict[str, Any] = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "hearth-block"},
    "provisioner": "rancher.io/local-path",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Delete",
}


def available() -> bool:
    """Whether a Docker engine answers; the client alone is of no use."""
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def configuration(certs: Path) -> str:
    """kind's cluster configuration: one node, which finds in `certs` where the registry's name leads to.

    The patch is in the form of containerd's configuration version 2, which kind's node images use; containerd
    migrates it by itself.
    """
    patch = '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
    mount = {"hostPath": str(certs), "containerPath": "/etc/containerd/certs.d", "readOnly": True}
    document = {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "nodes": [{"role": "control-plane", "extraMounts": [mount]}],
        "containerdConfigPatches": [patch],
    }
    return yaml.safe_dump(document, sort_keys=False)


def hosts(registry: str) -> str:
    """containerd's hosts.toml: the registry container has its name as address on kind's network."""
    return f'[host."http://{registry}:{REGISTRY_PORT}"]\ncapabilities = ["pull", "resolve"]\n'


def registry_command(name: str, port: int) -> list[str]:
    """`docker run` of the registry, which this machine reaches on loopback."""
    publish = f"127.0.0.1:{port}:{REGISTRY_PORT}"
    volume = f"{REGISTRY_VOLUME}:/var/lib/registry"
    options = ["--detach", "--restart=unless-stopped", "--name", name, "--publish", publish, "--volume", volume]
    return ["docker", "run", *options, REGISTRY_IMAGE]


def _kind_name(state: ClusterState) -> str:
    return f"hearth-{state.name}"


def _registry_name(state: ClusterState) -> str:
    return f"hearth-{state.name}-registry"


def up(state: ClusterState, progress: Progress) -> Cluster:
    """Brings the cluster up, or back up.

    Raises:
        ClusterError: Docker or kind failed; what it printed is in the message.
    """
    state.require_profile(PROFILE)
    programs = binaries.tools(["kind", "kubectl"], progress)
    state.update(profile=PROFILE, provider=PROVIDER)
    certs = state.folder / "certs.d"
    (certs / REGISTRY).mkdir(parents=True, exist_ok=True)
    (certs / REGISTRY / "hosts.toml").write_text(hosts(_registry_name(state)))
    with progress.step("starting the registry"):
        _ensure_registry(state)
    with progress.step("starting the node (kind)"):
        _ensure_cluster(state, programs["kind"], certs)
    cluster = Cluster(state)
    cluster.apply(STORAGE_CLASS)
    return cluster


def _ensure_registry(state: ClusterState) -> None:
    name = _registry_name(state)
    if _docker_succeeds("container", "inspect", name):
        run_checked(["docker", "start", name])
    else:
        port = free_ports(1)[0]
        # Noted first: a registry whose port nobody knows would be of no use, and there to stay.
        (state.folder / "registry").write_text(f"127.0.0.1:{port}\n")
        run_checked(registry_command(name, port))


def _ensure_cluster(state: ClusterState, kind: Path, certs: Path) -> None:
    name = _kind_name(state)
    if name in run_checked([kind, "get", "clusters"]).split():
        # Its containers stop with Docker and don't come back by themselves.
        run_checked(["docker", "start", f"{name}-control-plane"])
    else:
        config = configuration(certs)
        command: Command = [kind, "create", "cluster", "--name", name, "--wait", "120s", "--config", "-"]
        run_checked([*command, "--kubeconfig", state.kubeconfig], stdin=config)
    if not state.kubeconfig.exists():
        run_checked([kind, "export", "kubeconfig", "--name", name, "--kubeconfig", state.kubeconfig])
    if _registry_name(state) not in run_checked(["docker", "network", "inspect", "kind"]):
        run_checked(["docker", "network", "connect", "kind", _registry_name(state)])


def _docker_succeeds(*arguments: str) -> bool:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False).returncode == 0


def down(state: ClusterState, progress: Progress) -> None:
    """Removes the cluster, its registry and what runs beside them; the registry's blobs stay in their Docker volume."""
    if not available():
        raise ClusterError(f"cluster {state.name!r} was made by kind, and no Docker engine answers; start Docker first")
    with progress.step(f"taking {state.name} down"):
        # kwok, where there are fake nodes: it runs on this machine, not in the containers.
        supervisor = Supervisor(state.folder)
        supervisor.stop(supervisor.names(), seconds=0)
        run_checked([binaries.tool("kind", progress), "delete", "cluster", "--name", _kind_name(state)])
        if _docker_succeeds("container", "inspect", _registry_name(state)):
            run_checked(["docker", "rm", "--force", _registry_name(state)])
        state.remove()
