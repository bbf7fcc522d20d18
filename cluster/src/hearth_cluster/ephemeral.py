"""Clusters that live as long as the test run that made them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from hearth_cluster import lifecycle, loopback, native
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState

RUNNING_CLUSTER = "HEARTH_CLUSTER"
"""Environment variable that names a cluster to use instead of one of its own; it is left as it is."""


@contextmanager
def control_plane(progress: Progress | None = None) -> Iterator[Cluster]:
    """A control plane of its own for this process, with a name that is unique on the machine.

    It is removed at the end. A process that is killed can't do that: the next one that comes here does it instead.
    """
    lifecycle.reap()
    state = _unique()
    shown = progress or Progress()
    try:
        yield loopback.up(state, shown, owned=True)
    finally:
        lifecycle.down(state, shown)


@contextmanager
def node(progress: Progress | None = None) -> Iterator[Cluster]:
    """A whole node of its own for this process, or the running cluster that HEARTH_CLUSTER names.

    Raises:
        ClusterError: the machine can't have one, or the named cluster is not up.
    """
    shown = progress or Progress()
    if name := os.environ.get(RUNNING_CLUSTER):
        yield _running(name)
        return
    lifecycle.reap()
    state = _unique()
    try:
        yield native.up(state, shown, owned=True)
    finally:
        lifecycle.down(state, shown)


def _unique() -> ClusterState:
    return ClusterState(f"test-{os.getpid()}-{secrets.token_hex(2)}")


def _running(name: str) -> Cluster:
    state = ClusterState(name)
    if not state.kubeconfig.exists():
        raise ClusterError(
            f"{RUNNING_CLUSTER} names the cluster {name!r}, which is not up: hearth-cluster up --name {name}"
        )
    return Cluster(state)
