"""What a machine lacks is said at once, with what mends it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hearth_cluster import cgroups, preflight
from hearth_cluster.preflight import NODE_PACKAGES, Problem


def test_every_missing_program_is_named_with_its_package() -> None:
    found = preflight.missing_programs(NODE_PACKAGES, lambda program: program not in {"runc", "mkfs.xfs"})
    assert [(problem.what, problem.package) for problem in found] == [
        ("runc is missing", "runc"),
        ("mkfs.xfs is missing", "xfsprogs"),
    ]


def test_all_packages_are_installed_by_one_command() -> None:
    text = preflight.explain(
        [
            Problem("runc is missing", "apt-get install runc", "runc"),
            Problem("a node needs root", "run the command again with sudo"),
            Problem("mkfs.xfs is missing", "apt-get install xfsprogs", "xfsprogs"),
            Problem("xfs_growfs is missing", "apt-get install xfsprogs", "xfsprogs"),
        ]
    )
    assert "apt-get install runc xfsprogs" in text
    assert "a node needs root: run the command again with sudo" in text
    assert "preflight --fix" in text


def test_too_few_inotify_instances_are_a_problem_before_the_kubelet_ends_for_it() -> None:
    assert preflight.watcher_problem(128, used=96, needed=32) == []
    (problem,) = preflight.watcher_problem(128, used=97, needed=32)
    assert problem.what == "97 of 128 inotify instances are in use, and 32 more are needed"
    assert problem.mend == "sysctl -w fs.inotify.max_user_instances=1024"
    assert problem.command == tuple(problem.mend.split())


def test_the_inotify_instances_of_other_users_do_not_count(tmp_path: Path) -> None:
    for process, files in {"41": ["anon_inode:inotify", "/dev/null"], "42": ["anon_inode:inotify"], "43": []}.items():
        (tmp_path / process / "fd").mkdir(parents=True)
        for number, file in enumerate(files):
            (tmp_path / process / "fd" / str(number)).symlink_to(file)
    (tmp_path / "44").mkdir()  # ended meanwhile
    assert preflight.inotify_instances(os.geteuid(), tmp_path) == 2
    assert preflight.inotify_instances(os.geteuid() + 1, tmp_path) == 0


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"cgroup.controllers": "memory\n", "cgroup.type": "domain\n", "cgroup.procs": "1\n"}, True),
        ({"cgroup.controllers": "memory\n", "cgroup.type": "domain\n", "cgroup.procs": ""}, False),
        ({"cgroup.controllers": "memory\n", "cgroup.procs": "1\n"}, False),
        ({"cgroup.procs": "1\n"}, False),
    ],
    ids=["a container with processes", "a container without", "a machine", "version 1"],
)
def test_processes_in_a_containers_root_cgroup_have_to_move(
    tmp_path: Path, files: dict[str, str], problem: bool
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    found = preflight.cgroup_root_problem(tmp_path)
    assert bool(found) == problem
    preflight.fix(found)
    if problem:
        assert (tmp_path / "init" / "cgroup.procs").read_text() == "1\n"


def test_the_command_that_empties_the_root_cgroup_is_said_as_it_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "crowded", lambda root: True)
    (problem,) = preflight.cgroup_root_problem()
    assert problem.mend == (
        "sh -c 'mkdir -p /sys/fs/cgroup/init && "
        "xargs -rn1 </sys/fs/cgroup/cgroup.procs >/sys/fs/cgroup/init/cgroup.procs'"
    )


def test_a_kubelet_of_another_cluster_keeps_a_node_away(tmp_path: Path) -> None:
    path = tmp_path / "kubelet.sock"
    assert preflight.other_kubelet(path, tmp_path) == []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert preflight.other_kubelet(path, tmp_path) == [], "left from one that was killed"
        server.listen()
        (problem,) = preflight.other_kubelet(path, tmp_path)
        assert "a Kubernetes node already" in problem.what
        (tmp_path / "hearth-a").touch()
        assert preflight.other_kubelet(path, tmp_path) == [], "it may be that of a cluster of Hearth"


def test_what_mends_is_found_in_sbin_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/bin")
    script = f'echo "$PATH $DEBIAN_FRONTEND" >{tmp_path}/seen'
    preflight.fix([Problem("a module is missing", script, command=("sh", "-c", script))])
    assert (tmp_path / "seen").read_text() == "/bin:/usr/sbin:/sbin noninteractive\n"


def test_without_a_missing_package_nothing_is_said_of_packages() -> None:
    assert "apt-get" not in preflight.explain([Problem("a node needs root", "run the command again with sudo")])
