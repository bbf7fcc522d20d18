"""Bringing clusters up and taking them down, whatever they are made of."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearth_cluster import kind, loopback, native
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import clusters_dir
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState, all_clusters

PROFILES = (native.PROFILE, loopback.PROFILE)
PROVIDERS = ("auto", kind.PROVIDER, native.PROVIDER)


def up(state: ClusterState, progress: Progress, *, profile: str = native.PROFILE, provider: str = "auto") -> Cluster:
    """Brings a cluster up, or back up. `provider` says what a node is made by; `auto` is kind where Docker answers.

    Raises:
        ClusterError: an unknown profile or provider, a machine that lacks something, or a component that failed.
    """
    if profile not in PROFILES:
        raise ClusterError(f"profile {profile!r} is unknown; known: {', '.join(PROFILES)}")
    if provider not in PROVIDERS:
        raise ClusterError(f"provider {provider!r} is unknown; known: {', '.join(PROVIDERS)}")
    with alone(state):
        if profile == loopback.PROFILE:
            return loopback.up(state, progress)
        if choose_provider(provider, state) == kind.PROVIDER:
            return kind.up(state, progress)
        return native.up(state, progress)


@contextmanager
def alone(state: ClusterState) -> Iterator[None]:
    """Keeps a second `up` or `down` of the same cluster waiting, which would start or stop everything twice."""
    path = _lock(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            # `down` removes the file: who waited for that one meanwhile shuts out nobody.
            if _is(path, handle.fileno()):
                yield
                return


def _lock(state: ClusterState) -> Path:
    return clusters_dir() / f".{state.name}.lock"


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def choose_provider(wanted: str, state: ClusterState) -> str:
    """The provider that made the cluster, else the one wanted, else what the machine allows.

    Raises:
        ClusterError: the cluster was made by another provider than the one wanted.
    """
    made_by = state.settings().get("provider")
    if made_by is not None and wanted not in ("auto", made_by):
        raise ClusterError(f"cluster {state.name!r} was made by the provider {made_by!r}, not {wanted!r}")
    if made_by is not None:
        return str(made_by)
    return available_provider(wanted)


def available_provider(wanted: str = "auto") -> str:
    """The provider of a new cluster: kind where a Docker engine answers, unless another is wanted."""
    if wanted != "auto":
        return wanted
    return kind.PROVIDER if kind.available() else native.PROVIDER


def down(state: ClusterState, progress: Progress) -> None:
    """Removes a cluster with everything it started. One that is half there, or not at all, is no error."""
    if not state.exists():
        return
    with alone(state):
        if state.exists():  # else another `down` was at it
            _remove(state, progress)
        _lock(state).unlink(missing_ok=True)


def _remove(state: ClusterState, progress: Progress) -> None:
    settings = state.settings()
    if settings.get("provider") == kind.PROVIDER:
        kind.down(state, progress)
    elif settings.get("profile") == native.PROFILE:
        native.down(state, progress)
    else:
        loopback.down(state)


def reap() -> list[str]:
    """Removes clusters whose owner is gone, such as those of a test run that was killed. Returns their names."""
    gone = []
    for state in all_clusters():
        owner = state.owner()
        if owner is not None and not owner.alive():
            down(state, Progress())
            gone.append(state.name)
    return gone
