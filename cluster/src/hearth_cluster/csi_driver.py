"""Builds the storage driver from its source in cluster/csi, once for each state of that source."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import cache_dir, source_dir
from hearth_cluster.progress import Progress

NAME = "hearth-csi"


def program(progress: Progress | None = None) -> Path:
    """The path of the driver's program; it is built first if the cache lacks it.

    Raises:
        ClusterError: no Go toolchain, or the build failed (the compiler's last lines are in the message).
    """
    source = source_dir() / "csi"
    folder = cache_dir() / "bin" / f"{NAME}-{source_digest(source)}"
    built = folder / NAME
    if not built.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.exists():  # another process may have built it meanwhile
                with (progress or Progress()).step("building the storage driver"):
                    _build(source, built)
    return built


def source_digest(source: Path) -> str:
    """Changes with every file that the program is built from; tests are not among them."""
    files = [path for path in source.rglob("*.go") if not path.name.endswith("_test.go")]
    digest = hashlib.sha256()
    for path in sorted([*files, source / "go.mod", source / "go.sum"]):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(source)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _build(source: Path, built: Path) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    with tempfile.TemporaryDirectory(prefix=".build-", dir=built.parent) as scratch:
        output = Path(scratch) / NAME
        command = ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(output), f"./cmd/{NAME}"]
        try:
            done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise ClusterError(
                "Go is missing: the storage driver is built from source; install it from https://go.dev/dl"
            ) from None
        if done.returncode != 0:
            raise ClusterError(f"`go build` in {source} failed:\n" + "\n".join(done.stderr.splitlines()[-15:]))
        output.rename(built)  # atomic: a program in the cache is always a whole one
