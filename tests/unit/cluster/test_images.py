"""Images: what their tags depend on, and that only what a registry lacks is built and pushed."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from hearth_cluster.errors import ClusterError
from hearth_cluster.image_builders import Build
from hearth_cluster.image_catalog import CATALOG, PROFILES, UV_VERSION, Image, Package
from hearth_cluster.image_registry import Manifest
from hearth_cluster.image_tags import tag_of
from hearth_cluster.images import Delivery, chart_values, instructions, record
from hearth_cluster.progress import Progress

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of all that images are made from."""
    for image in CATALOG.values():
        shutil.copytree(
            ROOT / image.folder, tmp_path / image.folder, ignore=shutil.ignore_patterns(".venv"), dirs_exist_ok=True
        )
    return tmp_path


def lock(package: Package) -> str:
    return f"{package.name}==1.0"


class TestTags:
    def test_a_tag_is_the_same_for_the_same_sources(self, sources: Path) -> None:
        assert tag_of(CATALOG["gateway"], sources, lock) == tag_of(CATALOG["gateway"], ROOT, lock)

    def test_a_changed_source_file_changes_the_tag(self, sources: Path) -> None:
        before = tag_of(CATALOG["gateway"], sources, lock)
        (sources / "images/gateway/src/hearth_gateway/__init__.py").write_text("changed = True\n")
        assert tag_of(CATALOG["gateway"], sources, lock) != before

    def test_a_changed_lock_changes_the_tags_of_the_package_it_locks_alone(self) -> None:
        def newer(package: Package) -> str:
            return "hearth-gateway==2.0" if package.name == "hearth-gateway" else lock(package)

        changed = {name for name, image in CATALOG.items() if tag_of(image, ROOT, lock) != tag_of(image, ROOT, newer)}
        assert changed == {"gateway"}

    def test_a_changed_base_changes_the_tags_of_all_that_is_built_on_it(self, sources: Path) -> None:
        before = {name: tag_of(image, sources, lock) for name, image in CATALOG.items()}
        (sources / "images/local/torch/cpu_only.py").write_text("# changed\n")
        changed = {name for name, image in CATALOG.items() if tag_of(image, sources, lock) != before[name]}
        assert changed == {"torch", "vllm-cpu", "trainer", "models/smollm2-135m-instruct"}

    def test_what_python_leaves_behind_does_not_change_the_tag(self, sources: Path) -> None:
        before = tag_of(CATALOG["operator"], sources, lock)
        leftover = sources / "operator/src/hearth/__pycache__/x.cpython-311.pyc"
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_bytes(b"bytecode")
        assert tag_of(CATALOG["operator"], sources, lock) == before


@dataclass
class RecordingBuilder:
    """Holds the images it was asked to build, and pushes into `registry`."""

    registry: dict[tuple[str, str], Manifest]
    local: list[str] = field(default_factory=list)
    built: list[str] = field(default_factory=list)
    arguments: dict[str, dict[str, str]] = field(default_factory=dict)

    def has(self, reference: str) -> bool:
        return reference in self.local

    def build(self, build: Build, on_step: Callable[[], None]) -> None:
        on_step()
        name = build.reference.removeprefix("localhost/hearth/").partition(":")[0]
        self.local.append(build.reference)
        self.built.append(name)
        self.arguments[name] = dict(build.build_args)

    def push(self, reference: str, target: str, log: Path) -> None:
        assert reference in self.local
        repository, _, tag = target.partition("/")[2].rpartition(":")
        self.registry[repository, tag] = Manifest(f"sha256:{tag}", 7, "application/json", b"{}")


@dataclass
class Shelf:
    """A registry in memory."""

    address: str
    held: dict[tuple[str, str], Manifest]

    def find(self, repository: str, tag: str) -> Manifest | None:
        return self.held.get((repository, tag))

    def add_tag(self, repository: str, tag: str, manifest: Manifest) -> None:
        self.held[repository, tag] = manifest


@pytest.fixture
def shelf() -> Shelf:
    return Shelf("10.0.0.1:5000", {})


@pytest.fixture
def builder(shelf: Shelf) -> RecordingBuilder:
    return RecordingBuilder(shelf.held)


@pytest.fixture
def delivery(shelf: Shelf, builder: RecordingBuilder, tmp_path: Path) -> Delivery:
    return Delivery(ROOT, shelf, tmp_path, Progress(), lambda: builder, lock)


class TestDelivery:
    def test_what_an_image_is_built_on_is_built_first_and_not_pushed(
        self, delivery: Delivery, builder: RecordingBuilder, shelf: Shelf
    ) -> None:
        delivered = delivery.deliver("trainer")
        assert builder.built == ["base", "torch", "trainer"]
        assert list(shelf.held) == [("hearth/trainer", delivered.tag)]

    def test_an_image_is_built_on_the_base_its_tag_was_made_with(
        self, delivery: Delivery, builder: RecordingBuilder
    ) -> None:
        delivery.deliver("trainer")
        torch = tag_of(CATALOG["torch"], ROOT, lock)
        assert builder.arguments["trainer"] == {"TORCH": "base", "BASE": f"localhost/hearth/torch:{torch}"}

    def test_an_image_that_the_registry_holds_needs_no_builder(self, delivery: Delivery, shelf: Shelf) -> None:
        first = delivery.deliver("gateway")

        def none_installed() -> RecordingBuilder:
            raise ClusterError("no builder on this machine")

        again = Delivery(ROOT, shelf, delivery.logs, Progress(), none_installed, lock).deliver("gateway")
        assert (first.action, again.action) == ("built", "present")
        assert again.reference == first.reference

    def test_an_image_that_is_only_local_is_pushed_without_a_build(
        self, delivery: Delivery, builder: RecordingBuilder, shelf: Shelf
    ) -> None:
        delivery.deliver("gateway")
        shelf.held.clear()
        assert delivery.deliver("gateway").action == "pushed"
        assert builder.built.count("gateway") == 1

    def test_a_reference_names_the_clusters_registry_and_the_digest(self, delivery: Delivery) -> None:
        delivered = delivery.deliver("operator")
        tag = delivered.tag
        assert delivered.reference == f"registry.hearth.internal/hearth/operator:{tag}@sha256:{tag}"

    def test_a_model_has_a_tag_that_never_changes(self, delivery: Delivery, shelf: Shelf) -> None:
        delivered = delivery.deliver("models/all-minilm-l6-v2")
        assert shelf.held["hearth/models/all-minilm-l6-v2", "1"] == delivered.manifest

    def test_references_of_another_profile_stay_recorded(self, tmp_path: Path) -> None:
        record(tmp_path / "images.json", {"operator": "a", "gateway": "b"})
        record(tmp_path / "images.json", {"gateway": "c"})
        assert json.loads((tmp_path / "images.json").read_text()) == {"operator": "a", "gateway": "c"}


class TestCatalog:
    def test_the_chart_is_told_every_image_it_requires(self) -> None:
        schema = json.loads((ROOT / "charts/hearth/values.schema.json").read_text())
        required = set(schema["properties"]["images"]["required"]) - {"vllm"}
        written = yaml.safe_load(chart_values({name: name for name in PROFILES["demo"]}))
        assert set(written["images"]) == required

    def test_a_base_comes_before_what_is_built_on_it(self) -> None:
        names = list(CATALOG)
        assert all(names.index(i.base) < names.index(i.name) for i in CATALOG.values() if i.base is not None)

    def test_profiles_name_images_of_the_catalog(self) -> None:
        assert {name for names in PROFILES.values() for name in names} == set(CATALOG)

    @pytest.mark.parametrize("image", CATALOG.values(), ids=lambda image: image.name)
    def test_an_image_ends_unprivileged_or_holds_only_files(self, image: Image) -> None:
        text = (ROOT / image.containerfile).read_text()
        final = text[text.rindex("\nFROM ") :]
        inherits = "USER root" not in final and image.base is not None
        assert final.startswith("\nFROM scratch") or "\nUSER 65532:65532\n" in final or inherits

    def test_one_version_of_uv_is_named_everywhere(self) -> None:
        texts = [(ROOT / image.containerfile).read_text() for image in CATALOG.values()]
        named = {version for text in texts for version in re.findall(r"ghcr.io/astral-sh/uv:(\S+)", text)}
        named.update(re.findall(r"^UV_VERSION := (\S+)", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert named == {UV_VERSION}

    def test_torch_is_the_same_in_every_lock(self) -> None:
        locked = tomllib.loads((ROOT / "uv.lock").read_text())
        wanted = {package["version"] for package in locked["package"] if package["name"] == "torch"}
        lists = [*ROOT.glob("images/local/**/requirements.txt")]
        found = {v for path in lists for v in re.findall(r"^torch==(\S+)", path.read_text(), re.MULTILINE)}
        assert found == wanted

    def test_requirements_of_images_are_pinned_by_hash(self) -> None:
        for path in ROOT.glob("images/local/**/requirements.txt"):
            entries = re.split(r"\n(?=[a-z0-9])", path.read_text())
            assert all("--hash=sha256:" in entry for entry in entries), path


@pytest.mark.parametrize(
    ("containerfile", "steps"),
    [
        ("ARG BASE=x\nFROM ${BASE}\nRUN true\n", 2),
        ("# a comment\nFROM x\n\nRUN a && \\\n    b\nUSER 1\n", 3),
        ("FROM a AS b\nRUN c\nFROM d\nCOPY --from=b /e /e\n", 4),
    ],
)
def test_a_build_has_as_many_steps_as_instructions(containerfile: str, steps: int) -> None:
    assert instructions(containerfile) == steps
