"""Builds the pinned programs from source, once, into the cache."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hearth_cluster.errors import ClusterError
from hearth_cluster.paths import cache_dir, source_dir
from hearth_cluster.progress import Progress
from hearth_cluster.tools import ToolModule, module_of

MINIMUM_GO = (1, 26)


def tool(name: str, progress: Progress | None = None) -> Path:
    """The path of a pinned program; it is built first if the cache lacks it."""
    return tools([name], progress)[name]


def tools(names: Iterable[str], progress: Progress | None = None) -> dict[str, Path]:
    """Paths of several pinned programs by name. What is missing of one module is built in one go.

    Raises:
        ClusterError: no Go toolchain, or the build failed (the compiler's last lines are in the message).
        KeyError: no module pins such a program.
    """
    wanted: dict[str, ToolModule] = {name: module_of(name) for name in names}
    for module in dict.fromkeys(wanted.values()):
        _ensure(module, [name for name, owner in wanted.items() if owner is module], progress or Progress())
    return {name: _folder(module) / name for name, module in wanted.items()}


def missing(names: Iterable[str]) -> list[str]:
    """Those of `names` that would have to be built."""
    return [name for name in names if not (_folder(module_of(name)) / name).exists()]


def _folder(module: ToolModule) -> Path:
    return cache_dir() / "bin" / module.build_id(source_dir() / "tools")


def _ensure(module: ToolModule, names: list[str], progress: Progress) -> None:
    folder = _folder(module)
    if all((folder / name).exists() for name in names):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f"{folder.name}.lock"):
        # Another process may have built them while this one waited for the lock.
        absent = [name for name in names if not (folder / name).exists()]
        if absent:
            _build(module, absent, folder, progress)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(module: ToolModule, names: list[str], folder: Path, progress: Progress) -> None:
    if problem := go_problem():
        raise ClusterError(f"{problem}; install it from https://go.dev/dl")
    tools_dir = source_dir() / "tools"
    packages = [module.packages[name] for name in names]
    for left in folder.glob(".build-*"):  # by a build that was killed: whoever builds here holds the lock
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        command = ["go", "build", "-v", "-trimpath", "-ldflags", module.link_flags(tools_dir), "-o", f"{scratch}/"]
        title = f"building {', '.join(names)} ({module.version(tools_dir)})"
        with progress.step(title, total=_stale_packages(module, packages)) as step:
            _run_go([*command, *packages], tools_dir / module.name, step.advance)
        for name, package in zip(names, packages, strict=True):
            # A rename is atomic: a program in the cache is always a whole one.
            (Path(scratch) / _binary_name(package)).rename(folder / name)


def _binary_name(package: str) -> str:
    """The file name `go build -o DIR/` gives a main package: its last element that is not a major version."""
    elements = package.split("/")
    if re.fullmatch(r"v\d+", elements[-1]):
        elements.pop()
    return elements[-1]


def _go_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


def _stale_packages(module: ToolModule, packages: list[str]) -> int:
    """How many packages the compiler will have to build: what `go build -v` will print one line for each."""
    listed = subprocess.run(
        ["go", "list", "-trimpath", "-deps", "-f", "{{if .Stale}}x{{end}}", *packages],
        cwd=source_dir() / "tools" / module.name,
        env=_go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    return listed.stdout.count("x")


def _run_go(command: list[str], folder: Path, advance: object) -> None:
    assert callable(advance)
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=folder, env=_go_environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip())
            advance()
    if process.returncode != 0:
        raise ClusterError(f"`go build` in {folder} failed:\n" + "\n".join(lines[-15:]))


def go_problem() -> str | None:
    """What is wrong with the Go toolchain, or None."""
    if shutil.which("go") is None:
        return "Go is missing: the cluster's programs are built from source"
    text = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, cwd="/").stdout
    found = re.match(r"go(\d+)\.(\d+)", text)
    if found is None or (int(found[1]), int(found[2])) < MINIMUM_GO:
        return f"Go {text.strip()} is too old: {'.'.join(map(str, MINIMUM_GO))} or newer is needed"
    return None
