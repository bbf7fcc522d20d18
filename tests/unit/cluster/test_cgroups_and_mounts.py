"""The node's corner of the machine's cgroups, and the mounts it leaves."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hearth_cluster import cgroups, loops, mounts, native
from hearth_cluster.network import NodeNetwork
from hearth_cluster.processes import Supervisor
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState

MOUNTINFO = r"""
22 27 0:21 / /proc rw - proc proc rw
30 27 8:1 / /state/a rw - ext4 /dev/a rw
31 30 8:1 / /state/a/kubelet rw shared:1 - ext4 /dev/a rw
32 31 7:0 / /state/a/kubelet/pods/1/volume\040one rw - xfs /dev/loop0 rw
33 27 8:1 / /state/ab rw - ext4 /dev/a rw
""".strip()


def test_mounts_below_a_folder_come_off_innermost_first() -> None:
    assert mounts.below([Path("/state/a")], MOUNTINFO) == [
        Path("/state/a/kubelet/pods/1/volume one"),
        Path("/state/a/kubelet"),
        Path("/state/a"),
    ]


def test_a_folder_whose_name_only_begins_alike_is_left_alone() -> None:
    assert Path("/state/ab") not in mounts.below([Path("/state/a")], MOUNTINFO)


class Kernel:
    """A mount table that umount changes as the kernel does, and what was called."""

    def __init__(self, text: str, *, twins: Iterable[str] = ()) -> None:
        self.lines = text.splitlines()
        self.twins = set(twins)
        self.calls: list[list[str]] = []

    def text(self) -> str:
        return "\n".join(self.lines)

    def run(self, argv: Iterable[str | Path]) -> str:
        words = [str(word) for word in argv]
        self.calls.append(words)
        if words[0] == "umount":
            there = [line for line in self.lines if line.split(" ")[4] == words[-1]]
            assert there, f"umount: {words[-1]}: not mounted"
            gone = there if words[-1] in self.twins else there[-1:]
            self.lines = [line for line in self.lines if line not in gone]
        return ""


def use(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "table", kernel.text)
    monkeypatch.setattr(mounts, "run_checked", kernel.run)


def test_a_mount_that_another_unmount_took_along_is_not_unmounted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # Below a bind mount that shares with its parent each mount is there twice, and goes with its twin.
    lines = [f"{number} 31 0:9 / /state/a/token rw shared:1 - tmpfs tmpfs rw" for number in (41, 42)]
    kernel = Kernel("\n".join([MOUNTINFO, *lines]).replace("\\040", "-"), twins=["/state/a/token"])
    use(kernel, monkeypatch)
    assert mounts.unmount_below(Path("/state/a"))[:2] == [
        Path("/state/a/token"),
        Path("/state/a/kubelet/pods/1/volume-one"),
    ]
    assert mounts.mounted(kernel.text()) == [Path("/proc"), Path("/state/ab")]


def test_the_kubelets_folder_leaves_the_group_of_a_shared_root_before_it_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = Kernel("21 1 8:1 / / rw shared:1 - ext4 /dev/a rw")
    use(kernel, monkeypatch)
    mounts.ensure_shared(tmp_path)
    assert kernel.calls == [
        ["mount", "--bind", "--make-private", str(tmp_path), str(tmp_path)],
        ["mount", "--make-rshared", str(tmp_path)],
    ]


def test_only_what_lies_on_the_clusters_devices_is_thawed(monkeypatch: pytest.MonkeyPatch) -> None:
    thawed: list[Path] = []

    def thaw_at(point: Path) -> None:
        thawed.append(point)
        raise OSError("it is not frozen")

    monkeypatch.setattr(mounts, "table", lambda: f"{MOUNTINFO}\n34 27 7:1 / /other rw - xfs /dev/loop1 rw")
    monkeypatch.setattr(mounts, "_thaw_at", thaw_at)
    mounts.thaw(["/dev/loop0", "/dev/loop10"])
    assert thawed == [Path("/state/a/kubelet/pods/1/volume one")]


def test_a_cluster_goes_in_the_order_in_which_the_kernel_lets_go_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def note(target: object, name: str, result: object = None) -> None:
        monkeypatch.setattr(target, name, lambda *arguments, **options: (steps.append(name), result)[1])

    def stop(supervisor: Supervisor, names: Iterable[str], seconds: float = 0) -> None:
        steps.extend(f"stop {name}" for name in names)

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(Supervisor, "stop", stop)
    monkeypatch.setattr(Supervisor, "names", lambda supervisor: ["kubelet", "containerd"])
    note(mounts, "thaw")
    note(cgroups, "remove")
    note(loops, "detach_below")
    note(mounts, "unmount_below")
    note(native, "_tidy", True)
    note(NodeNetwork, "kill_processes")
    monkeypatch.setattr(NodeNetwork, "remove", lambda network: None)
    state = ClusterState("one")
    state.update(network="10.200.1.0/24", images=str(tmp_path / "images"))
    native.down(state, Progress())
    assert steps == [
        "stop csi-driver",
        "thaw",
        "stop kubelet",
        "remove",
        "_tidy",
        "stop containerd",
        "kill_processes",
        "detach_below",
        "unmount_below",
        "detach_below",
    ]
    assert not state.exists()


@pytest.fixture
def version_one(tmp_path: Path) -> Path:
    for name in ("cpu", "cpuset", "memory", "pids"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return tmp_path


def test_a_new_group_may_use_the_processors_of_its_parent(version_one: Path) -> None:
    cgroups.ensure("hearth-a", version_one)
    assert (version_one / "cpuset" / "hearth-a" / "cpuset.cpus").read_text() == "0-1\n"
    assert all((version_one / name / "hearth-a").is_dir() for name in ("cpu", "memory", "pids"))


@pytest.mark.parametrize(("file", "one"), [("cpu.shares", 1024), ("cpu.weight", 100)])
def test_pods_weigh_as_much_as_one_process_on_each_core(version_one: Path, file: str, one: int) -> None:
    (version_one / "cpu" / "hearth-a").mkdir()
    (version_one / "cpu" / "hearth-a" / file).write_text(str(one))
    cgroups.ensure("hearth-a", version_one)
    assert int((version_one / "cpu" / "hearth-a" / file).read_text()) == one * len(os.sched_getaffinity(0))
    assert not (version_one / "memory" / "hearth-a" / file).exists()


def test_missing_controllers_are_named(version_one: Path) -> None:
    (version_one / "memory" / "cgroup.procs").unlink()
    (version_one / "memory").rmdir()
    assert cgroups.missing_controllers(version_one) == ["memory"]


def test_version_two_lists_its_controllers_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    assert cgroups.unified(tmp_path)
    assert cgroups.missing_controllers(tmp_path) == ["pids"]


def test_processes_of_inner_groups_are_found(version_one: Path) -> None:
    inner = version_one / "memory" / "hearth-a" / "kubepods" / "pod1"
    inner.mkdir(parents=True)
    (inner / "cgroup.procs").write_text("41\n42\n")
    assert cgroups.processes("hearth-a", version_one) == {41, 42}
