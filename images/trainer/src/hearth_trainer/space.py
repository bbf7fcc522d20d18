"""Where downloads go: a folder of the job's volume while training, the pod's own disk while rows are checked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hearth_trainer.errors import DiskFullError
from hearth_trainer.failures import is_disk_full

SPACE = "HEARTH_SPACE"
"""Environment variable with the folder on the volume."""


def space() -> Path:
    """The folder, which is made if need be."""
    folder = Path(os.environ.get(SPACE, "/tmp"))  # noqa: S108 - the pod's own emptyDir
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def room_for(what: str, folder: Path) -> Iterator[None]:
    """Inside, `what` is written to `folder`.

    Raises DiskFullError where there is no room for it.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error, folder):
            raise
        on_volume = SPACE in os.environ
        raise DiskFullError(
            "DiskFull",
            f"{what} does not fit: {'the volume' if on_volume else 'the disk of the node'} is full",
            "raise spec.checkpoints.storage.size" if on_volume else "make room on the node, or name another one",
        ) from error
