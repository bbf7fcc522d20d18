"""The node that several parts of `make test` use at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hearth_cluster import binaries, ephemeral
from hearth_cluster.images import deliver_profile
from hearth_cluster.progress import Progress


@contextmanager
def shared_node() -> Iterator[dict[str, str]]:
    """A node with the images of the profile `test`; yields the environment in which a test uses it.

    What the tests need and the cache lacks is built first, so that no test that counts seconds runs beside a compiler.
    """
    progress = Progress()
    binaries.tools(["helm", "helm3", "kwok"], progress)
    with ephemeral.node(progress) as cluster:
        deliver_profile(cluster.state, "test", progress)
        yield {ephemeral.RUNNING_CLUSTER: cluster.state.name}
