"""Every resource that the examples apply and the documentation prints is one that admission would take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.base import API_VERSION
from hearth.api.kinds import KINDS
from hearth.plan.validation import Invalid, parse

ROOT = Path(__file__).resolve().parents[3]
BY_KIND = {kind.kind: kind for kind in KINDS}
BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def texts() -> Iterator[tuple[str, str]]:
    """Where, and the YAML there: of files, and of the blocks in pages."""
    for folder in (ROOT / "examples", ROOT / "docs"):
        for path in sorted(folder.rglob("*.yaml")):
            yield str(path.relative_to(ROOT)), path.read_text()
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in BLOCK.findall(path.read_text()):
            yield str(path.relative_to(ROOT)), block


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for path, text in texts():
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("apiVersion") == API_VERSION:
                yield path, document


RESOURCES = list(resources())


@pytest.mark.parametrize(("path", "resource"), RESOURCES, ids=[f"{p}-{r['kind']}" for p, r in RESOURCES])
def test_an_example_is_valid(path: str, resource: dict[str, Any]) -> None:
    said = parse(BY_KIND[resource["kind"]].spec, resource["spec"])
    assert not isinstance(said, Invalid), said


@pytest.mark.parametrize("place", ["README.md", "docs/", "examples/"])
def test_every_kind_is_shown(place: str) -> None:
    assert {resource["kind"] for path, resource in RESOURCES if path.startswith(place)} == set(BY_KIND)


def test_the_three_kinds_are_served() -> None:
    assert {kind.kind: kind.short_names for kind in KINDS} == {
        "FineTuneJob": ("ftj",),
        "VectorIndex": ("vix",),
        "LLMService": ("llm",),
    }
