"""The images a cluster runs: where each is made from, what it is built on, and who needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

UV_VERSION = "0.13.9"
"""The uv that installs Python packages into images; the Makefile and the Containerfiles name the same one."""

REPOSITORY = "registry.hearth.internal/hearth"
"""What images are called inside a cluster, whatever the registry's address is outside."""


@dataclass(frozen=True)
class Package:
    """A package of the workspace that an image carries, with the lock's entries that go in beside it."""

    name: str
    export_options: tuple[str, ...] = ()
    """More options of `uv export`."""


@dataclass(frozen=True)
class Image:
    """One image.

    Its tag is a digest of the folder, `package`'s locked dependencies, `build_args` and the tag of `base`, so an image
    whose inputs did not change is neither built nor pushed again.
    """

    name: str
    folder: str
    """Below the repository's root; holds the Containerfile."""
    base: str | None = None
    """The image given to the build as BASE; without one, the Containerfile's own default."""
    package: Package | None = None
    build_args: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stable_tag: str | None = None
    """A second tag that never changes, for resources that people write by hand."""

    @property
    def containerfile(self) -> str:
        return f"{self.folder}/Containerfile"


def _packaged(name: str, folder: str, package: Package, base: str, **build_args: str) -> Image:
    return Image(name, folder, base, package=package, build_args=MappingProxyType(build_args))


_TRAINER = Package("hearth-trainer", ("--extra", "train", "--prune", "torch"))

_ALL = (
    Image("base", "images/local/base"),
    Image("torch", "images/local/torch", "base"),
    Image("vllm-cpu", "images/local/vllm-cpu", "torch"),
    Image("milvus", "images/local/milvus", "base"),
    Image("milvus-lite", "images/local/milvus-lite", "base"),
    Image("models/smollm2-135m-instruct", "images/local/models/smollm2-135m-instruct", "torch", stable_tag="1"),
    Image("models/all-minilm-l6-v2", "images/local/models/all-minilm-l6-v2", "base", stable_tag="1"),
    _packaged("operator", "operator", Package("hearth"), "base"),
    _packaged("gateway", "images/gateway", Package("hearth-gateway"), "base"),
    _packaged("indexer", "images/indexer", Package("hearth-indexer"), "base"),
    _packaged("trainer", "images/trainer", _TRAINER, "torch", TORCH="base"),
)

CATALOG: Mapping[str, Image] = MappingProxyType({image.name: image for image in _ALL})
"""Every image by name; a base comes before what is built on it."""

CHART_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "operator": "operator",
        "trainer": "trainer",
        "indexer": "indexer",
        "gateway": "gateway",
        "vllm-cpu": "vllmCpu",
        "milvus": "milvus",
        "milvus-lite": "milvusLite",
    }
)
"""Images that charts/hearth is told by reference, with their keys below `images` in its values."""

_DEMO = (*CHART_KEYS, "models/smollm2-135m-instruct", "models/all-minilm-l6-v2")

PROFILES: Mapping[str, tuple[str, ...]] = MappingProxyType({"demo": _DEMO, "test": _DEMO, "all": tuple(CATALOG)})
"""Names of the images that pods of each profile pull. What they are built on is built, but not pushed for itself."""
