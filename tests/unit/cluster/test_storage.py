"""Command lines of the node's storage, the driver's build identity, and which loop devices are a cluster's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from hearth_cluster import csi_driver, loops, storage
from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import source_dir
from hearth_cluster.processes import Component, Supervisor
from hearth_cluster.state import ClusterState
from hearth_cluster.storage import Storage

MANIFESTS = source_dir() / "manifests" / "storage"


@pytest.fixture
def node_storage() -> Storage:
    programs = {name: Path("/bin") / name for name in ("hearth-csi", *storage.PROGRAMS)}
    return Storage(
        programs=programs,
        folder=Path("/state/volumes"),
        socket=Path("/run/csi.sock"),
        kubelet_root=Path("/state/kubelet"),
        node="node-a",
        kubeconfig=Path("/state/kubeconfig"),
        prefix=("nsenter", "--net=/run/netns/x"),
    )


def test_the_driver_serves_and_registers_where_the_kubelet_looks(node_storage: Storage) -> None:
    component = node_storage.driver()
    assert component.argv == (
        "nsenter",
        "--net=/run/netns/x",
        "/bin/hearth-csi",
        "--endpoint=/run/csi.sock",
        "--registration-dir=/state/kubelet/plugins_registry",
        "--state-dir=/state/volumes",
        "--node=node-a",
        "--overcommit=8",
    )


def test_the_driver_finds_mkfs_even_if_the_user_does_not(
    node_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/home/user/bin:/usr/bin")
    environment = node_storage.driver().environment
    assert environment is not None
    assert environment["PATH"] == "/home/user/bin:/usr/bin:/usr/sbin:/sbin"


def test_every_sidecar_talks_to_this_driver_and_this_cluster(node_storage: Storage) -> None:
    sidecars = {component.name: component.argv for component in node_storage.sidecars()}
    assert tuple(sidecars) == storage.PROGRAMS
    assert all("--kubeconfig=/state/kubeconfig" in argv for argv in sidecars.values())
    with_driver = {name for name, argv in sidecars.items() if "--csi-address=/run/csi.sock" in argv}
    assert with_driver == {"csi-provisioner", "csi-resizer", "csi-snapshotter"}


def test_a_claim_without_a_class_gets_a_growable_volume_on_the_chosen_node() -> None:
    documents = {item["kind"]: item for item in yaml.safe_load_all((MANIFESTS / "classes.yaml").read_text())}
    storage_class = documents["StorageClass"]
    assert storage_class["metadata"]["name"] == "hearth-block"
    assert storage_class["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert storage_class["volumeBindingMode"] == "WaitForFirstConsumer"
    assert storage_class["allowVolumeExpansion"] is True
    assert storage_class["provisioner"] == documents["VolumeSnapshotClass"]["driver"] == storage.DRIVER


def test_the_driver_is_built_anew_when_its_source_changes_but_not_for_its_tests(tmp_path: Path) -> None:
    for name in ("go.mod", "go.sum", "main.go", "main_test.go"):
        (tmp_path / name).write_text(name)
    before = csi_driver.source_digest(tmp_path)
    (tmp_path / "main_test.go").write_text("another test")
    assert csi_driver.source_digest(tmp_path) == before
    (tmp_path / "main.go").write_text("another program")
    assert csi_driver.source_digest(tmp_path) != before


def test_the_loop_devices_of_a_cluster_are_told_from_all_others(tmp_path: Path) -> None:
    files = {
        "loop1": "/state/a/volumes/vol-1/image\n",
        "loop2": "/state/ab/volumes/vol-1/image\n",
        "loop3": "/var/lib/other/disk.img\n",
        "loop10": "/state/a/kubelet/volumeDevices/pod (deleted)\n",
    }
    for device, text in files.items():
        (tmp_path / device / "loop").mkdir(parents=True)
        (tmp_path / device / "loop" / "backing_file").write_text(text)
    (tmp_path / "loop4").mkdir()  # not attached
    devices = loops.attached(tmp_path)
    # loop10 lies over loop1: the one on top goes first.
    assert loops.below(Path("/state/a"), devices) == ["/dev/loop10", "/dev/loop1"]


@pytest.mark.parametrize("still_there", [False, True])
def test_a_device_that_goes_with_its_mount_meanwhile_is_as_good_as_detached(
    monkeypatch: pytest.MonkeyPatch, still_there: bool
) -> None:
    devices = {"/dev/loop1": Path("/state/a/volumes/image")}

    def losetup(argv: object) -> str:
        if not still_there:
            devices.clear()
        raise ClusterError("losetup: /dev/loop1: detach failed: No such device or address")

    monkeypatch.setattr(loops, "attached", lambda: dict(devices))
    monkeypatch.setattr(loops, "run_checked", losetup)
    if still_there:
        with pytest.raises(ClusterError, match="detach failed"):
            loops.detach_below(Path("/state/a"))
    else:
        assert loops.detach_below(Path("/state/a")) == ["/dev/loop1"]


class Recorded(Supervisor):
    """Starts nothing; says what would have been started and stopped."""

    def __init__(self, running: set[str]) -> None:
        self.alive = running
        self.log_lines: list[str] = []

    def ensure(self, component: Component) -> bool:
        if component.name in self.alive:
            return False
        self.alive.add(component.name)
        self.log_lines.append(f"start {component.name}")
        return True

    def stop(self, names: Iterable[str], seconds: float = 0) -> None:
        for name in names:
            if name in self.alive:
                self.alive.discard(name)
                self.log_lines.append(f"stop {name}")


@pytest.mark.parametrize(
    ("alive", "done"),
    [
        ({"csi-driver", *storage.PROGRAMS}, []),
        ({"csi-driver", *storage.PROGRAMS} - {"csi-resizer"}, ["start csi-resizer"]),
        (
            {"csi-provisioner", "snapshot-controller"},
            [
                "start csi-driver",
                "stop csi-provisioner",
                "stop snapshot-controller",
                *[f"start {name}" for name in storage.PROGRAMS],
            ],
        ),
    ],
)
def test_a_new_driver_gets_new_sidecars_and_a_running_one_is_left_alone(
    node_storage: Storage, monkeypatch: pytest.MonkeyPatch, alive: set[str], done: list[str]
) -> None:
    monkeypatch.setattr(storage, "install", lambda cluster: None)
    monkeypatch.setattr(storage, "registered", lambda cluster, node: True)
    supervisor = Recorded(set(alive))
    storage.start(Cluster(ClusterState("unit")), node_storage, supervisor)
    assert supervisor.log_lines == done
