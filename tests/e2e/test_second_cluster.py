"""Two clusters side by side, and what is left of one that is taken down: nothing."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hearth_cluster import cgroups, lifecycle, loops, mounts, native
from hearth_cluster.cluster import Cluster
from hearth_cluster.network import NodeNetwork
from hearth_cluster.processes import Supervisor, run_checked
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState


def keeper(image: str) -> list[dict[str, Any]]:
    """Two claims, and a pod that has one mounted and the other as a raw device."""
    claims = [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "volumeMode": mode,
                "resources": {"requests": {"storage": size}},
            },
        }
        for name, mode, size in (("kept", "Filesystem", "320Mi"), ("raw", "Block", "10Mi"))
    ]
    container = {
        "name": "main",
        "image": image,
        "command": ["python3", "-c", "import time; time.sleep(3600)"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "volumeDevices": [{"name": "raw", "devicePath": "/dev/raw"}],
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "keeper", "namespace": "default"},
        "spec": {
            "containers": [container],
            "volumes": [
                {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}},
                {"name": "raw", "persistentVolumeClaim": {"claimName": "raw"}},
            ],
        },
    }
    return [*claims, pod]


def traces(state: ClusterState, network: NodeNetwork) -> dict[str, Any]:
    """Everything on the machine that a cluster of this name has made, by kind; empty kinds are left out."""
    folders = (state.folder, Path("/run/hearth") / state.name)
    words = [os.fsencode(f"{folder}/") for folder in folders]
    links = json.loads(run_checked(["ip", "-json", "link", "show"]))
    found = {
        "processes": [pid for pid, line in command_lines() if any(word in line for word in words)],
        "containers": sorted(cgroups.processes(network.namespace)),
        "mounts": mounts.below(folders, Path("/proc/self/mountinfo").read_text()),
        "loop devices": loops.below(state.folder, loops.attached()),
        "namespace": network.exists(),
        "link": [link["ifname"] for link in links if link["ifname"] == network.link],
        "cgroups": [path for root in cgroups.hierarchies() if (path := root / network.namespace).exists()],
        "folders": [folder for folder in folders if folder.exists()],
    }
    return {kind: left for kind, left in found.items() if left}


def command_lines() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_bytes() + b"/"
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.fixture
def second(node_cluster: Cluster) -> Iterator[Cluster]:
    """A node beside the one of the run, with the same images: the registry's blobs are shared."""
    state = ClusterState(f"second-{os.getpid()}-{secrets.token_hex(2)}")
    try:
        cluster = native.up(state, Progress(), owned=True)
        (state.folder / "images.json").write_text((node_cluster.state.folder / "images.json").read_text())
        yield cluster
    finally:
        lifecycle.down(state, Progress())


def test_a_second_cluster_has_its_own_network_and_leaves_nothing(node_cluster: Cluster, second: Cluster) -> None:
    assert second.state.settings()["network"] != node_cluster.state.settings()["network"]
    second.apply(*keeper(second.state.images["gateway"]))
    second.kubectl("wait", "--for=condition=Ready", "pod/keeper", "--timeout=120s")
    network = native._network(second.state)
    up = traces(second.state, network)
    assert up.keys() == {
        "processes",
        "containers",
        "mounts",
        "loop devices",
        "namespace",
        "link",
        "cgroups",
        "folders",
    }
    # The file system's, the raw volume's, and the kubelet's own over that, which would keep it attached.
    assert len(up["loop devices"]) == 3

    # The worst moment: half of it has just been killed, with a volume mounted.
    supervisor = Supervisor(second.state.folder)
    for name in ("kubelet", "etcd", "csi-driver"):
        identity = supervisor.identity(name)
        assert identity is not None
        identity.send(signal.SIGKILL)
    lifecycle.down(second.state, Progress())

    assert traces(second.state, network) == {}
    assert node_cluster.kubectl("get", "nodes", "-o", "name").startswith("node/")
