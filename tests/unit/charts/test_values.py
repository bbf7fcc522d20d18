"""Every value of the charts is described, checked by the schema and read by a template."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = Path(__file__).resolve().parents[3] / "charts"
SCHEMA: dict[str, Any] = json.loads((CHARTS / "hearth" / "values.schema.json").read_text())
VALUES: dict[str, Any] = yaml.safe_load((CHARTS / "hearth" / "values.yaml").read_text())
SAMPLE: dict[str, Any] = yaml.safe_load((CHARTS / "hearth" / "ci" / "images-values.yaml").read_text())
TEMPLATES = "\n".join(path.read_text() for path in (CHARTS / "hearth" / "templates").iterdir())


def properties(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from properties(child, f"{path}.{name}")


def leaves(values: dict[str, Any], path: str = "") -> Iterator[str]:
    """Paths of values, down to where the schema lets keys be free."""
    free = {"resources", "labels", "annotations", "nodeSelector", "affinity", "podLabels", "podAnnotations"}
    for name, value in values.items():
        yield f"{path}.{name}"
        if isinstance(value, dict) and name not in free:
            yield from leaves(value, f"{path}.{name}")


def test_every_value_is_in_the_schema() -> None:
    known = {path for path, _ in properties(SCHEMA)}
    assert {*leaves(VALUES), *leaves(SAMPLE)} <= known


def test_every_entry_of_the_schema_is_a_value() -> None:
    given = {*leaves(VALUES), *leaves(SAMPLE), ".global", ".resources.requests", ".resources.limits"}
    assert {path for path, _ in properties(SCHEMA)} == given


def test_every_entry_is_described() -> None:
    assert [path for path, entry in properties(SCHEMA) if not entry.get("description", "").endswith(".")] == []


def test_unknown_values_are_refused_at_every_level() -> None:
    def objects(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if schema.get("properties"):
            yield path, schema
        for name, child in schema.get("properties", {}).items():
            yield from objects(child, f"{path}.{name}")
        if "items" in schema:
            yield from objects(schema["items"], f"{path}[]")

    assert [path for path, schema in objects(SCHEMA, "") if schema.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("path", [p for p in leaves(VALUES) if p.count(".") == 1 and p != ".images"])
def test_every_value_is_read_by_a_template(path: str) -> None:
    assert re.search(rf"\.Values{re.escape(path)}\b", TEMPLATES)


def test_images_without_a_default_are_asked_for() -> None:
    images = SCHEMA["properties"]["images"]
    assert set(images["required"]) == set(images["properties"])
    assert set(images["properties"]) == set(SAMPLE["images"]) | set(VALUES["images"])


@pytest.mark.parametrize("chart", ["hearth", "hearth-crds"])
def test_charts_and_operator_have_one_version(chart: str) -> None:
    project = tomllib.loads((CHARTS.parent / "operator" / "pyproject.toml").read_text())["project"]
    described = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == project["version"]
