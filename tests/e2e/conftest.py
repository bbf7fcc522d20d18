"""One real node, with the images that the tests run, for the whole run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest
from connected_cluster import ConnectedCluster
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.images import deliver_profile, values_file
from hearth_cluster.progress import Progress
from helm import NAMESPACE, Helm
from restricted_pod import NAMESPACE_LABELS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("e2e")


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[Cluster]:
    """A node of this run alone, or the one that HEARTH_CLUSTER names, which stays.

    `.state.images["gateway"]` and its like are references to the images of the profile `test`.
    """
    progress = Progress()
    with ephemeral.node(progress) as cluster:
        deliver_profile(cluster.state, "test", progress)
        yield ConnectedCluster(cluster.state)


@pytest.fixture(scope="session")
def hearth(node_cluster: Cluster) -> Helm:
    """Both charts on the real node, in a namespace that admits only restricted pods."""
    namespace = {"name": NAMESPACE, "labels": NAMESPACE_LABELS}
    node_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    helm = Helm(node_cluster, values_file(node_cluster.state))
    with (node_cluster.state.folder / "helm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another part of the tests may use the same node, and Helm refuses to wait
        helm.install("hearth-crds")
        helm.install("hearth")
    return helm
