"""Builds and pushes images: with Docker for clusters made by kind, with buildah for those made natively."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hearth_cluster import kind
from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import without_proxies

_CA_IN_BUILD = "/run/ca.crt"
"""Where the Containerfiles mount the secret `ca`: the certificates that the builder's own network needs."""

_SHOWN_LINES = 25
"""How much of a failed build's output goes into the error message; the whole is in the log."""


@dataclass(frozen=True)
class Build:
    """One image to build: `reference` from `containerfile` with the files of `context`."""

    reference: str
    containerfile: Path
    context: Path
    build_args: Mapping[str, str]
    log: Path


class Builder(Protocol):
    """A program that builds images and keeps them locally, under `localhost/hearth/…`."""

    def has(self, reference: str) -> bool:
        """Whether the image is among the local ones."""

    def build(self, build: Build, on_step: Callable[[], None]) -> None:
        """Builds; `on_step` is called once for each instruction that was carried out or found in the cache."""

    def push(self, reference: str, target: str, log: Path) -> None:
        """Pushes a local image to `target`, on a registry of this machine that speaks plain http."""


def builder_for(provider: str, storage: Path) -> Builder:
    """Docker for kind's clusters, whose registry is on loopback; else buildah with its images below `storage`.

    Docker speaks plain http to registries on loopback only, and the native provider's is in the cluster's own network.

    Raises:
        ClusterError: buildah is needed and not there.
    """
    if provider == kind.PROVIDER:
        return Docker()
    missing = [program for program in ("buildah", "mmdebstrap") if shutil.which(program) is None]
    if missing:
        raise ClusterError(
            f"no image can be built without {' and '.join(missing)}: apt-get install {' '.join(missing)}"
        )
    return Buildah(storage)


@dataclass(frozen=True)
class Docker:
    """Docker with BuildKit."""

    def has(self, reference: str) -> bool:
        return _succeeds(["docker", "image", "inspect", reference])

    def build(self, build: Build, on_step: Callable[[], None]) -> None:
        # An attestation would turn the image into an index, whose digest names no layers.
        command = ["docker", "build", "--progress=plain", "--provenance=false", *_build_options(build)]
        _run([*command, str(build.context)], build.log, on_step, r"#\d+ \[.*\d+/\d+\] ")

    def push(self, reference: str, target: str, log: Path) -> None:
        _run(["docker", "tag", reference, target], log)
        _run(["docker", "push", target], log)


@dataclass(frozen=True)
class Buildah:
    """buildah without a daemon: chroot isolation needs no namespaces or cgroups of its own."""

    storage: Path

    def has(self, reference: str) -> bool:
        return _succeeds([*self._buildah, "inspect", "--type", "image", reference], self._environment)

    def build(self, build: Build, on_step: Callable[[], None]) -> None:
        options = ["--isolation", "chroot", "--layers", "--format", "oci", "--pull-never"]
        command = [*self._buildah, "bud", *options, *_build_options(build), str(build.context)]
        try:
            _run(command, build.log, on_step, r"(\[\d+/\d+\] )?STEP \d+/\d+: ", self._environment)
        finally:
            # buildah 1.28 leaves the stages behind that a RUN mounted, and after a failure all of them.
            subprocess.run([*self._buildah, "rm", "--all"], capture_output=True, env=self._environment, check=False)

    def push(self, reference: str, target: str, log: Path) -> None:
        # zstd: a third of gzip's time here, and less again on the node that pulls. No level: naming one makes buildah
        # compress again what the registry holds already.
        options = ["--tls-verify=false", "--compression-format", "zstd"]
        direct = {**without_proxies(), **self._scratch}
        _run([*self._buildah, "push", *options, reference, f"docker://{target}"], log, environment=direct)

    @property
    def _buildah(self) -> list[str]:
        root, run = self.storage / "storage", self.storage / "run"
        return ["buildah", "--root", str(root), "--runroot", str(run), "--storage-driver", "overlay"]

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._scratch}

    @property
    def _scratch(self) -> dict[str, str]:
        # Cache mounts (uv's downloads) lie in the folder for temporary files.
        scratch = self.storage / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        return {"TMPDIR": str(scratch)}


def _build_options(build: Build) -> list[str]:
    options = ["--tag", build.reference, "--file", str(build.containerfile)]
    arguments = dict(build.build_args)
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates:
        options += ["--secret", f"id=ca,src={certificates}"]
        arguments["SSL_CERT_FILE"] = _CA_IN_BUILD
    for name, value in arguments.items():
        options += ["--build-arg", f"{name}={value}"]
    return options


def _succeeds(command: list[str], environment: Mapping[str, str] | None = None) -> bool:
    return subprocess.run(command, capture_output=True, env=environment, check=False).returncode == 0


def _run(
    command: list[str],
    log: Path,
    on_step: Callable[[], None] = lambda: None,
    step: str = r"(?!)",
    environment: Mapping[str, str] | None = None,
) -> None:
    """Runs a command, its output appended to `log`; each line that begins with `step` counts as one.

    Raises:
        ClusterError: the command failed; the message carries the last lines.
    """
    last: deque[str] = deque(maxlen=_SHOWN_LINES)
    with (
        log.open("a", buffering=1) as writer,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            writer.write(line)
            last.append(line.rstrip())
            if re.match(step, line):
                on_step()
    if process.returncode != 0:
        shown = "\n".join(last)
        raise ClusterError(
            f"`{' '.join(command[:1])}` failed ({process.returncode}), its whole output is in {log}:\n{shown}"
        )
