"""Recognises what third-party code means by the exceptions it throws."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from hearth_trainer.errors import DiskFullError, OutOfMemoryError, TrainerError

NEARLY_FULL = 16 * 2**20
"""Free bytes under which a failed write of unknown cause is put down to a full disk."""


WRITE_FAILED = ("file write failed", "iostream error", "unexpected pos")
"""All that torch.save (2.13) says of a write that failed, whatever it failed for."""


def recognise(error: BaseException, volume: Path) -> TrainerError | None:
    """The outcome that an exception stands for, or None for a bug that should be seen as one."""
    if isinstance(error, TrainerError):
        return error
    text = _text(error)
    if is_disk_full(error, volume):
        free = shutil.disk_usage(volume).free / 2**20
        return DiskFullError(
            "DiskFull",
            f"the volume is full ({free:.0f} MiB free) and a write failed; the previous checkpoint is intact",
            "raise spec.checkpoints.storage.size, or lower spec.checkpoints.keep",
        )
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return OutOfMemoryError(
            "OutOfMemory",
            f"the trainer ran out of memory: {text[:400]}",
            "lower spec.training.microBatchSize or maxSequenceLength, or give the pod more memory",
        )
    return None


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found


def _text(error: BaseException) -> str:
    return " ".join(str(e) for e in _chain(error))


def is_disk_full(error: BaseException, volume: Path) -> bool:
    """Whether something could not be written to the volume for want of room."""
    if any(isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT) for e in _chain(error)):
        return True
    text = _text(error)
    if "No space left on device" in text or "os error 28" in text:
        return True
    return any(words in text for words in WRITE_FAILED) and shutil.disk_usage(volume).free < NEARLY_FULL
