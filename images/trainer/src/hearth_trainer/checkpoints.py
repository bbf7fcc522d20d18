"""Checkpoints that are complete or do not count.

transformers writes a checkpoint file by file and takes any folder it finds for a checkpoint. A pod that is killed while
it writes would then never start again. So a checkpoint counts only once its marker is there, which is written last,
after every byte before it has reached the disk.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

MARKER = "COMPLETE"
PREFIX = "checkpoint-"


def step_of(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint was taken after."""
    return int(checkpoint.name.removeprefix(PREFIX))


def all_of(root: Path) -> list[Path]:
    """Every checkpoint folder, complete or not, the newest first."""
    found = [p for p in root.glob(f"{PREFIX}*") if p.is_dir() and p.name.removeprefix(PREFIX).isdigit()]
    return sorted(found, key=step_of, reverse=True)


def is_complete(checkpoint: Path) -> bool:
    """Whether the marker is there and every file it names has the size it had."""
    try:
        files = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return all((checkpoint / n).is_file() and (checkpoint / n).stat().st_size == s for n, s in files.items())


def newest(root: Path) -> Path | None:
    """The newest complete checkpoint."""
    return next((c for c in all_of(root) if is_complete(c)), None)


def seal(checkpoint: Path) -> None:
    """Brings every file to the disk, then marks the checkpoint complete."""
    sizes = {}
    for file in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != MARKER):
        sync(file)
        sizes[str(file.relative_to(checkpoint))] = file.stat().st_size
    sync(checkpoint)
    draft = checkpoint / f".{MARKER}"
    draft.write_text(json.dumps({"step": step_of(checkpoint), "files": sizes}), encoding="utf-8")
    sync(draft)
    draft.rename(checkpoint / MARKER)
    sync(checkpoint)
    sync(checkpoint.parent)


def discard_incomplete(root: Path) -> list[Path]:
    """Removes what an interrupted write left behind, and says what that was."""
    broken = [c for c in all_of(root) if not is_complete(c)]
    for checkpoint in broken:
        shutil.rmtree(checkpoint)
    return broken


def prune(root: Path, keep: int) -> None:
    """Removes all but the newest `keep` complete checkpoints. The marker goes first: half a removal leaves no lie."""
    for checkpoint in [c for c in all_of(root) if is_complete(c)][keep:]:
        (checkpoint / MARKER).unlink()
        shutil.rmtree(checkpoint)


def sync(path: Path) -> None:
    """Brings a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
