"""Where the cluster tool keeps its files, by the XDG base directory rules."""

from __future__ import annotations

import os
from pathlib import Path

from hearth_cluster.errors import ClusterError


def _xdg(variable: str, fallback: str) -> Path:
    # The XDG specification: a relative path in the variable is invalid and must be ignored.
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / fallback


def cache_dir() -> Path:
    """What can be made again: binaries, images, the registry's blobs. Shared by all clusters."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "hearth"


def clusters_dir() -> Path:
    """One folder for each cluster that is up, or was and did not end cleanly."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "hearth" / "clusters"


def source_dir() -> Path:
    """The checkout's `cluster/` folder: Go tool modules, manifests and the CSI driver's source.

    Raises:
        ClusterError: the package was installed without its checkout.
    """
    found = Path(__file__).resolve().parents[2]
    if not (found / "tools").is_dir():
        raise ClusterError(
            f"the folder {found / 'tools'} with the pinned Go modules is missing; "
            "run hearth-cluster from a checkout of Hearth (`uv run hearth-cluster …`)"
        )
    return found
