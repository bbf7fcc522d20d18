"""One real node, with the images that the tests run, for the whole run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.images import deliver_profile
from hearth_cluster.progress import Progress


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
        yield cluster
