"""Clusters that live as long as the test run that made them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from hearth_cluster import loopback
from hearth_cluster.cluster import Cluster
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState


@contextmanager
def control_plane(progress: Progress | None = None) -> Iterator[Cluster]:
    """A control plane of its own for this process, with a name that is unique on the machine.

    It is removed at the end. A process that is killed can't do that: the next one that comes here does it instead.
    """
    loopback.reap()
    state = ClusterState(f"test-{os.getpid()}-{secrets.token_hex(2)}")
    try:
        yield loopback.up(state, progress or Progress(), owned=True)
    finally:
        loopback.down(state)
