"""Block storage of the node: the driver csi.hearth.dev (source in cluster/csi) and the Kubernetes sidecars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hearth_cluster.cluster import Cluster
from hearth_cluster.controlplane import wait_for
from hearth_cluster.paths import source_dir
from hearth_cluster.processes import Component, Supervisor, search_path

DRIVER = "csi.hearth.dev"
PROGRAMS = ("csi-provisioner", "csi-resizer", "csi-snapshotter", "snapshot-controller")
"""The sidecars, as `binaries.tools` knows them; the driver itself comes from `csi_driver.program`."""

OVERCOMMIT = 8
"""How many times the disk may be promised: claims of examples and tests are rarely filled, and images are sparse."""

RPC_TIMEOUT = "--timeout=5m"
"""A copy without reflinks takes as long as the disk needs; the driver answers a second try with ABORTED meanwhile."""

RETRY_LIMIT = "--retry-interval-max=15s"
"""The sidecars' default of 5 minutes is for storage arrays; somebody waits for this one."""

NO_GROUP_SNAPSHOTS = "--feature-gates=CSIVolumeGroupSnapshot=false"
"""The driver takes none, and without their definitions the snapshot controller waits half a minute before it works."""

_SNAPSHOT_KINDS = ("volumesnapshots", "volumesnapshotcontents", "volumesnapshotclasses")


@dataclass(frozen=True)
class Storage:
    """What it takes to write the command lines of one node's storage."""

    programs: Mapping[str, Path]
    """Paths of the driver `hearth-csi` and of `PROGRAMS`."""
    folder: Path
    """Where volumes and snapshots are kept. Losing it loses them."""
    socket: Path
    """The driver's socket; its path may have at most 107 bytes (unix(7))."""
    kubelet_root: Path
    """The kubelet's --root-dir: it looks for drivers in `plugins_registry` there."""
    node: str
    kubeconfig: Path
    """An administrator's: the sidecars' many rights are not worth an account each on a local cluster."""
    prefix: tuple[str, ...] = ()
    """Command in front of every component. The driver must see the kubelet's mounts, and be seen: if the kubelet has
    a mount namespace of its own, the prefix enters it."""

    def driver(self) -> Component:
        """Controller and node service in one process, which registers itself with the kubelet."""
        flags = [
            f"--endpoint={self.socket}",
            f"--registration-dir={self.kubelet_root / 'plugins_registry'}",
            f"--state-dir={self.folder}",
            f"--node={self.node}",
            f"--overcommit={OVERCOMMIT}",
        ]
        return Component(
            "csi-driver", (*self.prefix, str(self.programs["hearth-csi"]), *flags), {"PATH": search_path()}
        )

    def sidecars(self) -> tuple[Component, ...]:
        """What turns claims and snapshots into calls to the driver."""
        address = f"--csi-address={self.socket}"
        return (
            self._sidecar(
                "csi-provisioner", address, RPC_TIMEOUT, RETRY_LIMIT, "--default-fstype=xfs", "--strict-topology"
            ),
            self._sidecar("csi-resizer", address, RPC_TIMEOUT, RETRY_LIMIT, "--handle-volume-inuse-error=false"),
            self._sidecar("csi-snapshotter", address, RPC_TIMEOUT, RETRY_LIMIT, NO_GROUP_SNAPSHOTS),
            self._sidecar("snapshot-controller", RETRY_LIMIT, NO_GROUP_SNAPSHOTS),
        )

    def _sidecar(self, name: str, *flags: str) -> Component:
        return Component(name, (*self.prefix, str(self.programs[name]), f"--kubeconfig={self.kubeconfig}", *flags))


def install(cluster: Cluster) -> None:
    """Applies the snapshot definitions, the CSIDriver object and the classes `hearth-block`."""
    manifests = source_dir() / "manifests" / "storage"
    _apply(cluster, [manifests / "crds", manifests / "driver.yaml"])
    cluster.await_definitions(*(f"{kind}.snapshot.storage.k8s.io" for kind in _SNAPSHOT_KINDS))
    _apply(cluster, [manifests / "classes.yaml"])


def _apply(cluster: Cluster, paths: Sequence[Path]) -> None:
    files = [word for path in paths for word in ("--filename", str(path))]
    cluster.kubectl("apply", "--server-side", "--force-conflicts", *files)


def start(cluster: Cluster, storage: Storage, supervisor: Supervisor) -> None:
    """Installs and starts what doesn't run, and returns once the kubelet has registered the driver.

    Raises:
        ClusterError: a component ended, with its log's last lines in the message.
    """
    install(cluster)
    driver, sidecars = storage.driver(), storage.sidecars()
    if supervisor.ensure(driver):
        # They end when they lose the driver. One that is just about to would be taken for running.
        supervisor.stop([sidecar.name for sidecar in sidecars])
    for sidecar in sidecars:
        supervisor.ensure(sidecar)
    names = [component.name for component in (driver, *sidecars)]
    wait_for(lambda: registered(cluster, storage.node), f"the kubelet to register {DRIVER}", supervisor, names)


def registered(cluster: Cluster, node: str) -> bool:
    """Whether the kubelet of the node knows the driver: it writes so into its CSINode object."""
    found = cluster.get("csinodes")
    drivers = [item["spec"].get("drivers") or [] for item in found["items"] if item["metadata"]["name"] == node]
    return any(driver["name"] == DRIVER for listed in drivers for driver in listed)
