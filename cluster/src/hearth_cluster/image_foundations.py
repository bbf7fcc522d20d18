"""What the Containerfiles take from public registries, made on machines that reach none: a root file system and uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hearth_cluster.errors import ClusterError
from hearth_cluster.image_builders import Build, Builder
from hearth_cluster.image_catalog import UV_VERSION
from hearth_cluster.image_tags import uv_program

DEBIAN = "bookworm"

_LEFT_OUT = ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*", "path-exclude=/usr/share/doc/*")
_KEPT = "path-include=/usr/share/doc/*/copyright"

ROOTFS = "images/local/base/rootfs"
UV = "images/local/uv"


def root_file_system(builder: Builder, root: Path, tag: str, log: Path, on_step: Callable[[], None]) -> str:
    """The local image of a minimal Debian with Python; made by mmdebstrap if it isn't there yet."""
    reference = f"localhost/hearth/rootfs:{tag}"
    packages = (root / ROOTFS / "packages.txt").read_text().split()

    def make(context: Path) -> None:
        dpkg = [f"--dpkgopt={option}" for option in (*_LEFT_OUT, _KEPT)]
        command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}", *dpkg, DEBIAN]
        # A fixed time for files made now: the same packages give the same layer.
        _run([*command, str(context / "rootfs.tar")], log, {**os.environ, "SOURCE_DATE_EPOCH": "0"})

    _build_from(builder, reference, root / ROOTFS, make, log, on_step)
    return reference


def uv_image(builder: Builder, root: Path, log: Path, on_step: Callable[[], None]) -> str:
    """The local image that holds the pinned uv at its root, as ghcr.io/astral-sh/uv does."""
    reference = f"localhost/hearth/uv:{UV_VERSION}"

    def make(context: Path) -> None:
        target = context / "package"
        _run([uv_program(), "pip", "install", "--quiet", "--target", str(target), f"uv=={UV_VERSION}"], log, os.environ)
        shutil.move(target / "bin" / "uv", context / "uv")

    _build_from(builder, reference, root / UV, make, log, on_step)
    return reference


def _build_from(
    builder: Builder,
    reference: str,
    folder: Path,
    make: Callable[[Path], None],
    log: Path,
    on_step: Callable[[], None],
) -> None:
    if builder.has(reference):
        return
    with tempfile.TemporaryDirectory(prefix="hearth-image-") as scratch:
        context = Path(scratch)
        make(context)
        on_step()
        builder.build(Build(reference, folder / "Containerfile", context, {}, log), on_step)


def _run(command: list[str], log: Path, environment: os._Environ[str] | dict[str, str]) -> None:
    with log.open("a") as writer:
        result = subprocess.run(command, stdout=writer, stderr=writer, env=environment, check=False)
    if result.returncode != 0:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ClusterError(f"`{command[0]}` failed ({result.returncode}), its whole output is in {log}:\n{last}")
