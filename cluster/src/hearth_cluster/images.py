"""Builds the images a cluster runs and pushes them to its registry: only what it lacks."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from hearth_cluster.errors import ClusterError
from hearth_cluster.image_builders import Build, Buildah, Builder, builder_for
from hearth_cluster.image_catalog import CATALOG, CHART_KEYS, PROFILES, REPOSITORY, Image
from hearth_cluster.image_foundations import root_file_system, uv_image
from hearth_cluster.image_registry import Manifest, Registry
from hearth_cluster.image_tags import LockedDependencies, locked_dependencies, tag_of
from hearth_cluster.paths import cache_dir, source_dir
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState


@dataclass(frozen=True)
class Delivered:
    """One image that the registry holds now."""

    name: str
    tag: str
    manifest: Manifest
    seconds: float
    """Time spent on building it (with what it is built on) and pushing it."""
    action: str
    """present, pushed or built"""

    @property
    def reference(self) -> str:
        """How pods refer to it: `registry/name:tag@sha256:…`."""
        return f"{REPOSITORY}/{self.name}:{self.tag}@{self.manifest.digest}"


@dataclass
class Delivery:
    """Brings images into a registry, in the order that their bases ask for."""

    root: Path
    """The repository: context of every build."""
    registry: Registry
    logs: Path
    progress: Progress
    find_builder: Callable[[], Builder]
    """Called only when something has to be built or pushed: a registry that holds everything needs no builder."""
    dependencies: LockedDependencies
    _builder: Builder | None = field(default=None, init=False)

    def deliver(self, name: str) -> Delivered:
        """Makes sure that the registry holds the image `name` as the sources are now.

        Raises:
            ClusterError: a build or a push failed.
        """
        image = CATALOG[name]
        started = time.monotonic()
        tag = tag_of(image, self.root, self.dependencies)
        repository = f"hearth/{name}"
        found, action = self.registry.find(repository, tag), "present"
        if found is None:
            action = "built" if self._build(image, tag) else "pushed"
            self._push(image, tag)
            found = self.registry.find(repository, tag)
            if found is None:
                raise ClusterError(f"{repository}:{tag} was pushed to {self.registry.address} but isn't there")
        if image.stable_tag is not None:
            self.registry.add_tag(repository, image.stable_tag, found)
        return Delivered(name, tag, found, time.monotonic() - started, action)

    def _build(self, image: Image, tag: str) -> bool:
        """Builds `image` and what it is built on, where the builder doesn't hold them; says whether it had to."""
        if self.builder.has(local_reference(image, tag)):
            return False
        if image.base is not None:
            base = CATALOG[image.base]
            self._build(base, tag_of(base, self.root, self.dependencies))
        containerfile = self.root / image.containerfile
        with self.progress.step(f"building {image.name}", total=instructions(containerfile.read_text())) as step:
            arguments = {**image.build_args, **self._foundations(image, tag, step.advance)}
            log = self._log(image)
            build = Build(local_reference(image, tag), containerfile, self.root, arguments, log)
            self.builder.build(build, step.advance)
        return True

    def _foundations(self, image: Image, tag: str, on_step: Callable[[], None]) -> dict[str, str]:
        """Build arguments that name local images in place of the public ones, where this machine reaches none."""
        if image.base is not None:
            base = CATALOG[image.base]
            arguments = {"BASE": local_reference(base, tag_of(base, self.root, self.dependencies))}
        elif isinstance(self.builder, Buildah):
            arguments = {"BASE": root_file_system(self.builder, self.root, tag, self._log(image), on_step)}
        else:
            arguments = {}
        if isinstance(self.builder, Buildah):
            arguments["UV"] = uv_image(self.builder, self.root, self._log(image), on_step)
        return arguments

    def _push(self, image: Image, tag: str) -> None:
        with self.progress.step(f"pushing {image.name}"):
            target = f"{self.registry.address}/hearth/{image.name}:{tag}"
            self.builder.push(local_reference(image, tag), target, self._log(image))

    def _log(self, image: Image) -> Path:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self.logs / f"{image.name.replace('/', '-')}.log"

    @property
    def builder(self) -> Builder:
        if self._builder is None:
            self._builder = self.find_builder()
        return self._builder


def local_reference(image: Image, tag: str) -> str:
    return f"localhost/hearth/{image.name}:{tag}"


def instructions(containerfile: str) -> int:
    """How many steps a builder reports: all instructions but the ARGs before the first FROM."""
    logical = containerfile.replace("\\\n", " ").splitlines()
    keywords = [line.split(maxsplit=1)[0] for line in logical if line.strip() and not line.startswith("#")]
    return len(keywords) - keywords.index("FROM")


def table(delivered: list[Delivered]) -> Table:
    """What was delivered, for people."""
    shown = Table(box=None)
    for title in ("Image", "Tag", "Digest"):
        shown.add_column(title, no_wrap=True)
    for title in ("Size", "Time"):
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("", no_wrap=True)
    for one in delivered:
        digest = one.manifest.digest.removeprefix("sha256:")[:10]
        size = f"{one.manifest.size / 1e6:.0f} MB"
        shown.add_row(one.name, one.tag, digest, size, f"{one.seconds:.0f} s", one.action)
    return shown


@contextmanager
def one_at_a_time(lock: Path, progress: Progress) -> Iterator[None]:
    """Holds `lock`: two runs at once would build the same images twice."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("waiting for another run that builds images"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def deliver_profile(state: ClusterState, profile: str, progress: Progress) -> list[Delivered]:
    """Delivers every image of `profile`; writes their references to the cluster's images.json and values for the chart.

    Raises:
        ClusterError: no such profile, no registry, or a build or push that failed.
    """
    if profile not in PROFILES:
        raise ClusterError(f"no profile {profile!r}: choose one of {', '.join(PROFILES)}")
    root = source_dir().parent
    cache = cache_dir() / "images"
    registry = Registry(state.registry)
    delivery = Delivery(
        root,
        registry,
        cache / "logs",
        progress,
        lambda: builder_for(state.settings()["provider"], cache),
        locked_dependencies(root),
    )
    with one_at_a_time(cache / "lock", progress):
        delivered = [delivery.deliver(name) for name in PROFILES[profile]]
    record(state.folder / "images.json", {one.name: one.reference for one in delivered})
    values_file(state).write_text(chart_values(state.images))
    return delivered


def record(path: Path, references: dict[str, str]) -> None:
    """Adds `references` to the file; those of images that another profile delivered stay."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.with_suffix(".tmp").write_text(json.dumps({**known, **references}, indent=2) + "\n")
    path.with_suffix(".tmp").rename(path)


def values_file(state: ClusterState) -> Path:
    """Where `helm install --values` finds the references of the cluster's images."""
    return state.folder / "images-values.yaml"


def chart_values(references: dict[str, str]) -> str:
    """The values by which charts/hearth runs these images."""
    return yaml.safe_dump({"images": {CHART_KEYS[name]: ref for name, ref in references.items() if name in CHART_KEYS}})


def images(
    name: Annotated[str, typer.Option(help="The cluster whose registry they go to.")] = "hearth",
    profile: Annotated[str, typer.Option(help="Which images: demo, test or all.")] = "demo",
) -> None:
    """Build the images a profile needs and push them to the cluster's registry; what it holds already is left alone."""
    state = ClusterState(name)
    delivered = deliver_profile(state, profile, Progress())
    Console().print(table(delivered))
    Console(stderr=True).print(f"values for charts/hearth: {values_file(state)}", soft_wrap=True, highlight=False)
