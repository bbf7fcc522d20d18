"""Folders in which containerd keeps images: one per cluster that is up, and kept for the next one."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from hearth_cluster.paths import cache_dir


def choose(used: Iterable[str]) -> Path:
    """The first of the cache's stores that no cluster uses: what an earlier cluster pulled is there already."""
    taken = set(used)
    stores = cache_dir() / "containerd"
    number = 0
    while str(stores / str(number)) in taken:
        number += 1
    return stores / str(number)


def tidy(ctr: Path, socket: Path, seconds: float = 10.0) -> bool:
    """Deletes every container from the store of a running containerd, so that only images stay. False if it can't.

    The containers' processes must be gone, and the kubelet too. containerd may still be taking note of a death, so
    that one try is not always enough.
    """
    command = [str(ctr), "--address", str(socket), "--namespace", "k8s.io"]
    deadline = time.monotonic() + seconds
    for kind, remove in (("containers", ["delete"]), ("sandboxes", ["remove", "--force"])):
        while names := _listed([*command, kind, "list"]):
            subprocess.run([*command, kind, *remove, *names], capture_output=True, check=False)
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        if names is None:
            return False
    return True


def _listed(command: list[str]) -> list[str] | None:
    """What ctr lists; None where it fails, which must not be taken for nothing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return identifiers(done.stdout) if done.returncode == 0 else None


def identifiers(table: str) -> list[str]:
    """The first column of one of ctr's tables, without its header."""
    return [line.split()[0] for line in table.splitlines()[1:] if line.strip()]
