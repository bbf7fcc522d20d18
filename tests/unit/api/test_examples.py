"""Every resource that the examples apply is one that admission would take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.base import API_VERSION
from hearth.api.kinds import KINDS
from hearth.plan.validation import Invalid, parse

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
BY_KIND = {kind.kind: kind for kind in KINDS}


def resources() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(EXAMPLES.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if isinstance(document, dict) and document.get("apiVersion") == API_VERSION:
                yield str(path.relative_to(EXAMPLES)), document


RESOURCES = list(resources())


@pytest.mark.parametrize(("path", "resource"), RESOURCES, ids=[path for path, _ in RESOURCES])
def test_an_example_is_valid(path: str, resource: dict[str, Any]) -> None:
    said = parse(BY_KIND[resource["kind"]].spec, resource["spec"])
    assert not isinstance(said, Invalid), said


def test_the_examples_show_every_kind() -> None:
    assert {resource["kind"] for _, resource in RESOURCES} == set(BY_KIND)


def test_the_three_kinds_are_served() -> None:
    assert {kind.kind: kind.short_names for kind in KINDS} == {
        "FineTuneJob": ("ftj",),
        "VectorIndex": ("vix",),
        "LLMService": ("llm",),
    }
