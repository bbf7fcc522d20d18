"""One control plane (etcd, API server, controller manager, scheduler) for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from connected_cluster import ConnectedCluster
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.fakenodes import parse_groups

GPU_NODES = """
nodes:
- {count: 4, gpus: 8, product: NVIDIA-A100-SXM4-80GB}
- {count: 2, gpus: 4, product: NVIDIA-L4}
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("controlplane")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A control plane of this run alone: `.kubeconfig`, `.kubectl(*arguments)`, `.apply`, `.get`, `.fake_nodes`."""
    with ephemeral.control_plane() as cluster:
        yield ConnectedCluster(cluster.state)


@pytest.fixture(scope="session")
def gpu_nodes(control_plane: Cluster) -> list[str]:
    """Four fake nodes with 8 A100 80 GB each and two with 4 L4: tainted `nvidia.com/gpu=present:NoSchedule`."""
    return control_plane.fake_nodes(parse_groups(GPU_NODES))


@pytest.fixture(scope="session")
def cpu_nodes(control_plane: Cluster) -> list[str]:
    """Two fake nodes without GPUs or taints, where any other pod runs as far as the API can tell."""
    return control_plane.fake_nodes(parse_groups("nodes: [{count: 2}]"))


@pytest.fixture
def namespace(control_plane: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for one test, with the service account that pods need; deleted afterwards."""
    name = f"t-{abs(hash(request.node.nodeid)) % 16**8:08x}"
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    control_plane.kubectl("wait", "--for=create", "--timeout=30s", "-n", name, "serviceaccount/default")
    yield name
    control_plane.kubectl("delete", "namespace", name, "--wait=false")
