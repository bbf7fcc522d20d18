"""Publishing a folder of model files: complete with a manifest of digests, or not there at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_trainer.checkpoints import sync

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """A published folder."""

    kind: str
    path: Path
    digest: str
    size: int


def file_digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(folder: Path) -> list[dict[str, Any]]:
    """Every file but the manifest, sorted by path."""
    found = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: str(p.relative_to(folder)))
    return [
        {"path": str(p.relative_to(folder)), "size": p.stat().st_size, "sha256": file_digest(p)}
        for p in found
        if p.name != MANIFEST
    ]


def digest_of(files: list[dict[str, Any]]) -> str:
    """Digest of a manifest: sha256 of the canonical JSON of its files."""
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def publish(draft: Path, root: Path, kind: str, base: dict[str, Any], lineage: dict[str, Any]) -> Artifact:
    """Moves a finished draft, which must lie on root's file system, to `<kind>-<digest>` with its manifest.

    The rename is last, after every byte has reached the disk. An equal artifact that is there already stays.
    """
    files = list_files(draft)
    digest = digest_of(files)
    size = sum(int(f["size"]) for f in files)
    manifest = {"version": 1, "kind": kind, "digest": digest, "files": files, "base": base, "lineage": lineage}
    (draft / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True), encoding="utf-8")
    for path in draft.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
        sync(path)
    sync(draft)
    target = root / f"{kind.lower()}-{digest.removeprefix('sha256:')[:12]}"
    if target.exists():
        shutil.rmtree(draft)
    else:
        draft.rename(target)
    sync(root)
    return Artifact(kind, target, digest, size)
