"""The state folder of one cluster: where its files are and what is known about it."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_cluster.addresses import ControlPlaneAddresses
from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import clusters_dir
from hearth_cluster.processes import ProcessIdentity

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,22}[a-z0-9])?")


@dataclass(frozen=True)
class ClusterState:
    """Files of the cluster `name`. Making one touches nothing."""

    name: str

    def __post_init__(self) -> None:
        if _NAME.fullmatch(self.name) is None:
            raise ClusterError(
                f"{self.name!r} cannot name a cluster: lower-case letters, digits and '-', at most 24 characters"
            )

    @property
    def folder(self) -> Path:
        return clusters_dir() / self.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig: the one place that `hearth-cluster env` points to."""
        return self.folder / "kubeconfig"

    @property
    def netns(self) -> str | None:
        """Name of the network namespace the node lives in; None for a control plane on loopback."""
        return f"hearth-{self.name}" if self.settings().get("profile") == "node" else None

    @property
    def registry(self) -> str:
        """`host:port` to push images to from this machine.

        Raises:
            ClusterError: the cluster has no registry, or is not up.
        """
        try:
            return (self.folder / "registry").read_text().strip()
        except FileNotFoundError:
            raise ClusterError(
                f"cluster {self.name!r} has no registry; bring a node up: hearth-cluster up --name {self.name}"
            ) from None

    @property
    def images(self) -> dict[str, str]:
        """Image references by short name, as pushed by `hearth-cluster images`; empty before that."""
        try:
            found: dict[str, str] = json.loads((self.folder / "images.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def exists(self) -> bool:
        return self.folder.is_dir()

    def settings(self) -> dict[str, Any]:
        """What `up` was asked for: profile, provider, addresses. Empty if the cluster was never up."""
        try:
            found: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    def update(self, **settings: Any) -> None:
        """Records some settings; the others stay."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / "cluster.json"
        path.with_suffix(".tmp").write_text(json.dumps({**self.settings(), **settings}, indent=2))
        path.with_suffix(".tmp").rename(path)

    def require_profile(self, profile: str) -> None:
        """Raises ClusterError if the cluster is up with another profile."""
        found = self.settings().get("profile", profile)
        if found != profile:
            raise ClusterError(
                f"cluster {self.name!r} is up with the profile {found!r}, not {profile!r}; "
                f"take it down (hearth-cluster down --name {self.name}) or choose another --name"
            )

    def addresses(self) -> ControlPlaneAddresses | None:
        """The recorded addresses, so that a second `up` finds the cluster where the first one put it."""
        found = self.settings().get("addresses")
        return None if found is None else ControlPlaneAddresses(**found)

    def owner(self) -> ProcessIdentity | None:
        """The process for whose lifetime the cluster was made, if it was made for one."""
        found = self.settings().get("owner")
        return None if found is None else ProcessIdentity(**found)

    def own(self, *, owned: bool) -> None:
        """Ties the cluster to the calling process, or to none; a process that it is tied to and that lives keeps it."""
        owner = ProcessIdentity.of(os.getpid()) if owned else self.owner()
        self.update(owner=vars(owner) if owner is not None and owner.alive() else None)

    def remove(self) -> None:
        """Deletes the folder. The cluster's processes and mounts must be gone."""
        shutil.rmtree(self.folder, ignore_errors=False)


def all_clusters() -> list[ClusterState]:
    """Every cluster that has a state folder, by name."""
    try:
        folders = sorted(path for path in clusters_dir().iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    return [ClusterState(path.name) for path in folders if _NAME.fullmatch(path.name)]
