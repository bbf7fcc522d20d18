"""Mounts below a folder: made shared for the kubelet, and gone when the cluster goes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Collection, Iterable
from pathlib import Path

from hearth_cluster.processes import run_checked

_FITHAW = 0xC0045878
"""_IOWR('X', 120, int) of linux/fs.h."""


def table() -> str:
    """This process's mounts: the text of /proc/self/mountinfo (proc(5))."""
    return Path("/proc/self/mountinfo").read_text()


def mounted(text: str) -> list[Path]:
    """Mount points in the order they were mounted, from the text of `table`."""
    points = [line.split(" ")[4] for line in text.splitlines()]
    return [Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)) for point in points]


def below(folders: Iterable[Path], text: str) -> list[Path]:
    """Mount points on or below the folders, the last mounted first: the order to unmount them in."""
    roots = [folder.resolve() for folder in folders]
    inside = [point for point in mounted(text) if any(point.is_relative_to(root) for root in roots)]
    return inside[::-1]


def unmount_below(*folders: Path) -> list[Path]:
    """Unmounts everything on or below the folders, lazily where it is in use. Returns what was mounted."""
    gone = []
    # Read anew each time: where mounts are shared, one unmount may take others of the list along.
    while points := below(folders, table()):
        run_checked(["umount", "--lazy", points[0]])
        gone.append(points[0])
    return gone


def of_devices(devices: Collection[str], text: str) -> list[Path]:
    """Mount points of the file systems on these devices, such as /dev/loop3."""
    lines = [line for line in text.splitlines() if line.rpartition(" - ")[2].split(" ")[1] in devices]
    return mounted("\n".join(lines))


def thaw(devices: Collection[str]) -> None:
    """Ends the freeze of file systems on these devices: a process that waits for one can't even be killed."""
    for point in of_devices(devices, table()):
        with contextlib.suppress(OSError):  # not frozen, as nearly always
            _thaw_at(point)


def _thaw_at(point: Path) -> None:
    folder = os.open(point, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, _FITHAW)
    finally:
        os.close(folder)


def ensure_shared(folder: Path) -> None:
    """Makes the folder a mount point whose mounts reach every namespace that sees it.

    The kubelet offers volumes with propagation, which the kernel refuses below a private mount: and many machines
    mount everything privately.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() not in mounted(table()):
        # Private first: it would stay in the group of a shared root, and every mount below would appear there as well.
        run_checked(["mount", "--bind", "--make-private", folder, folder])
    run_checked(["mount", "--make-rshared", folder])
