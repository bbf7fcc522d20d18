"""What a machine lacks is said at once, with what mends it."""

from __future__ import annotations

from hearth_cluster import preflight
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


def test_without_a_missing_package_nothing_is_said_of_packages() -> None:
    assert "apt-get" not in preflight.explain([Problem("a node needs root", "run the command again with sudo")])
