"""Tags of images: a digest of what an image is made from."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from hearth_cluster.errors import ClusterError
from hearth_cluster.image_catalog import CATALOG, UV_VERSION, Image, Package

TAG_LENGTH = 12
"""Hexadecimal digits of SHA-256; 48 bits tell a person's images apart."""

_IGNORED = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}

LockedDependencies = Callable[[Package], str]
"""The lock's entries for one package, as text."""


def uv_program() -> str:
    """The uv to run: the one running us (`uv run` names itself in the environment), or the one on the path."""
    return os.environ.get("UV") or "uv"


def locked_dependencies(root: Path) -> LockedDependencies:
    """Reads the lock of the workspace at `root` with `uv export`."""

    def export(package: Package) -> str:
        options = ["--quiet", "--frozen", "--no-header", "--no-emit-workspace", "--no-dev", "--package", package.name]
        command = [uv_program(), "export", *options, *package.export_options]
        result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ClusterError(f"uv.lock can't be read for {package.name}: {result.stderr.strip()}; run `uv lock`")
        return result.stdout

    return export


def tag_of(image: Image, root: Path, dependencies: LockedDependencies) -> str:
    """The tag of `image` as the files below `root` are now."""
    digest = hashlib.sha256()
    for part in _inputs(image, root, dependencies):
        # Length first, so that no two lists of inputs read the same.
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:TAG_LENGTH]


def _inputs(image: Image, root: Path, dependencies: LockedDependencies) -> Iterator[bytes]:
    yield UV_VERSION.encode()
    if image.base is not None:
        yield tag_of(CATALOG[image.base], root, dependencies).encode()
    for name, value in sorted(image.build_args.items()):
        yield f"{name}={value}".encode()
    if image.package is not None:
        yield dependencies(image.package).encode()
    folder = root / image.folder
    for path in _files(folder, image):
        yield path.relative_to(folder).as_posix().encode()
        yield path.read_bytes()


def _files(folder: Path, image: Image) -> list[Path]:
    """What the build reads of `folder`: all of it, or, of a package, what its wheel is made from."""
    parts = ("Containerfile", "pyproject.toml", "src") if image.package else (".",)
    found = [path for part in parts for path in [folder / part, *(folder / part).rglob("*")] if path.is_file()]
    return sorted(path for path in found if not _IGNORED & set(path.relative_to(folder).parts))
