"""The node's own corner of the cgroup hierarchies, version 1 or 2."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hearth_cluster.errors import ClusterError

ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("cpu", "cpuset", "memory", "pids")
_SHARES = {"cpu.shares": 1024, "cpu.weight": 100}
"""What one process outside of every group weighs: the kernel's defaults, cgroups version 1 and 2."""


def unified(root: Path = ROOT) -> bool:
    """Whether the machine has cgroups version 2 only."""
    return (root / "cgroup.controllers").exists()


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The mounted hierarchies; with version 2 there is one."""
    if unified(root):
        return [root]
    # A link such as cpuacct -> cpu,cpuacct names a hierarchy twice.
    found = {path.resolve() for path in root.iterdir() if (path / "cgroup.procs").exists()}
    return sorted(found)


def missing_controllers(root: Path = ROOT) -> list[str]:
    """Controllers that the kubelet insists on and the machine doesn't have."""
    if unified(root):
        present = set((root / "cgroup.controllers").read_text().split())
    else:
        present = {path.name for path in root.iterdir()} if root.is_dir() else set()
    return [name for name in _NEEDED if name not in present]


def crowded(root: Path = ROOT) -> bool:
    """Whether processes keep the root from handing its controllers to groups below it (cgroups(7)).

    The machine's own root may have both. That of a container with a cgroup namespace is a group like any other, and
    only such a one has a type.
    """
    return unified(root) and (root / "cgroup.type").exists() and bool((root / "cgroup.procs").read_text().strip())


def ensure(name: str, root: Path = ROOT) -> None:
    """Makes the group `name` in every hierarchy: the kubelet's cgroupRoot must be there before it starts."""
    for hierarchy in hierarchies(root):
        group = hierarchy / name
        if unified(root):
            enable = " ".join(f"+{controller}" for controller in (root / "cgroup.controllers").read_text().split())
            (hierarchy / "cgroup.subtree_control").write_text(enable)
        group.mkdir(exist_ok=True)
        _weigh(group)
        if (hierarchy / "cpuset.cpus").exists() and not unified(root):
            # A version 1 cpuset starts empty, and a process can't join an empty one.
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((hierarchy / file).read_text())


def _weigh(group: Path) -> None:
    """As much as one process for each core, which is also how the kubelet weighs pods.

    A new group weighs as much as one process, and all pods together would get no more time than any single one of the
    many that run outside of groups: the node's own API server, or whatever else the machine does.
    """
    most = 10_000  # of cgroups version 2
    for file, one in _SHARES.items():
        if (group / file).exists():
            (group / file).write_text(str(min(one * len(os.sched_getaffinity(0)), most)))


def _groups(name: str, root: Path) -> Iterator[Path]:
    """The group and those below it, the innermost first."""
    for hierarchy in hierarchies(root):
        top = hierarchy / name
        if top.is_dir():
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)


def processes(name: str, root: Path = ROOT) -> set[int]:
    """Pids of every process in the group or below: of containers, since only they are put there."""
    found: set[int] = set()
    for group in _groups(name, root):
        with contextlib.suppress(OSError):
            found.update(int(word) for word in (group / "cgroup.procs").read_text().split())
    return found


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def remove(name: str, root: Path = ROOT, seconds: float = 20.0) -> None:
    """Ends every process in the group and deletes it.

    Raises:
        ClusterError: a process would not end, which is the case while it waits in the kernel.
    """
    deadline = time.monotonic() + seconds
    while pids := processes(name, root):
        _kill(pids)
        if time.monotonic() > deadline:
            raise ClusterError(
                f"processes {sorted(pids)} of the cgroup {name} don't end; see `ps -o pid,stat,wchan,cmd`"
            )
        time.sleep(0.05)
    for group in list(_groups(name, root)):
        _remove_group(group, deadline)


def _remove_group(group: Path, deadline: float) -> None:
    # The kernel lets go of a dead process's group a moment after the process is gone.
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
