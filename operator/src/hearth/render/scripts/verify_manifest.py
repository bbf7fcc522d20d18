"""Checks every file of an artifact against the digest that was pinned for it, before an engine loads it.

Usage: verify_manifest.py FOLDER DIGEST. The digest is sha256 over the canonical JSON of the manifest's `files`.
Exit codes: 0 all files are as they were written, 65 one is not, 66 the artifact is missing. The reason goes to the
termination log as {"error": {...}}. Runs with Python's standard library alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

CORRUPT, MISSING = 65, 66
CHUNK = 4 * 2**20


class ArtifactError(Exception):
    """The artifact is not the one that was pinned."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code, self.kind, self.message = code, kind, message


def sha256_of(path: Path) -> str:
    """The digest of a file, read in pieces."""
    whole = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            whole.update(piece)
    return whole.hexdigest()


def verify(folder: Path, pinned: str) -> int:
    """Checks all files and returns their number of bytes. Raises ArtifactError at the first that differs."""
    manifest_path = folder / "manifest.json"
    if not manifest_path.is_file():
        raise ArtifactError(MISSING, "ModelNotFound", f"{manifest_path} does not exist: the artifact was removed")
    files = json.loads(manifest_path.read_text(encoding="utf-8"))["files"]
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":"))
    actual = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    if actual != pinned:
        raise ArtifactError(CORRUPT, "DigestMismatch", f"{manifest_path} lists {actual}, but {pinned} is pinned")
    total = 0
    for entry in files:
        path = folder / entry["path"]
        if not path.is_file():
            raise ArtifactError(CORRUPT, "DigestMismatch", f"{path} is listed in the manifest but missing")
        found = sha256_of(path)
        if found != str(entry["sha256"]).removeprefix("sha256:"):
            raise ArtifactError(
                CORRUPT, "DigestMismatch", f"{path} has sha256 {found}, not the {entry['sha256']} listed"
            )
        total += path.stat().st_size
    return total


def main(arguments: list[str]) -> int:
    """Verifies the one artifact that the arguments name."""
    folder, pinned = Path(arguments[0]), arguments[1]
    try:
        total = verify(folder, pinned)
    except (ArtifactError, OSError, ValueError, KeyError, TypeError) as error:
        if not isinstance(error, ArtifactError):
            error = ArtifactError(CORRUPT, "DigestMismatch", f"{folder}: {type(error).__name__}: {error}")
        log = Path(os.environ.get("HEARTH_TERMINATION_LOG", "/dev/termination-log"))
        log.write_text(json.dumps({"error": {"class": error.kind, "message": error.message}}), encoding="utf-8")
        sys.stderr.write(error.message + "\n")
        return error.code
    sys.stdout.write(f"{total} bytes are as they were written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
