"""The node's corner of the machine's cgroups, and the mounts it leaves."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hearth_cluster import cgroups, mounts

MOUNTINFO = r"""
22 27 0:21 / /proc rw - proc proc rw
30 27 8:1 / /state/a rw - ext4 /dev/a rw
31 30 8:1 / /state/a/kubelet rw shared:1 - ext4 /dev/a rw
32 31 8:1 / /state/a/kubelet/pods/1/volume\040one rw - xfs /dev/loop0 rw
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
