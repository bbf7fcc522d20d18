"""One real node, with the images that the tests run, for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from connected_cluster import ConnectedCluster
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.images import deliver_profile, values_file
from hearth_cluster.progress import Progress
from helm import NAMESPACE, Helm


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
    namespace = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    node_cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    helm = Helm(node_cluster, values_file(node_cluster.state))
    helm.install("hearth-crds")
    helm.install("hearth")
    return helm
