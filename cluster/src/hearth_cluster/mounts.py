"""Mounts below a folder: made shared for the kubelet, and gone when the cluster goes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hearth_cluster.processes import run_checked


def mounted(text: str) -> list[Path]:
    """Mount points in the order they were mounted, from the text of /proc/self/mountinfo (proc(5))."""
    points = [line.split(" ")[4] for line in text.splitlines()]
    return [Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point)) for point in points]


def below(folders: Iterable[Path], text: str) -> list[Path]:
    """Mount points on or below the folders, the last mounted first: the order to unmount them in."""
    roots = [folder.resolve() for folder in folders]
    inside = [point for point in mounted(text) if any(point.is_relative_to(root) for root in roots)]
    return inside[::-1]


def unmount_below(*folders: Path) -> list[Path]:
    """Unmounts everything on or below the folders, lazily where it is in use. Returns what was mounted."""
    points = below(folders, Path("/proc/self/mountinfo").read_text())
    for point in points:
        run_checked(["umount", "--lazy", point])
    return points


def ensure_shared(folder: Path) -> None:
    """Makes the folder a mount point whose mounts reach every namespace that sees it.

    The kubelet offers volumes with propagation, which the kernel refuses below a private mount: and many machines
    mount everything privately.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if folder.resolve() not in mounted(Path("/proc/self/mountinfo").read_text()):
        run_checked(["mount", "--bind", folder, folder])
    run_checked(["mount", "--make-rshared", folder])
