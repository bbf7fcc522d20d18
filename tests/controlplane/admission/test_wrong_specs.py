"""Every wrong spec is refused at admission, with words that say where and what; the operator says the same."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.crd_generate import custom_resource_definition
from hearth.api.crd_kind import CustomKind
from hearth.api.kinds import KINDS
from hearth.plan.validation import Invalid, parse

pytestmark = pytest.mark.controlplane

FOLDER = Path(__file__).parent / "wrong"
BY_KIND = {kind.kind: kind for kind in KINDS}
CASES = [(path.stem, case) for path in sorted(FOLDER.glob("*.yaml")) for case in yaml.safe_load(path.read_text())]


def laid_over(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7386)."""
    out = copy.deepcopy(base)
    for key, value in over.items():
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            out[key] = laid_over(out.get(key, {}), value)
        else:
            out[key] = value
    return out


def rule_messages(kind: CustomKind) -> set[str]:
    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (rule["message"] for rule in node.get("x-kubernetes-validations", []))
            for child in node.values():
                yield from walk(child)

    return set(walk(custom_resource_definition(kind)["spec"]["versions"][0]["schema"]))


@pytest.mark.parametrize(("kind", "case"), CASES, ids=[f"{kind}: {case['what']}" for kind, case in CASES])
def test_a_wrong_spec_is_refused_with_where_and_what(
    admission: Any, smallest: dict[str, Any], kind: str, case: dict[str, Any]
) -> None:
    spec = laid_over(smallest[kind], case["over"])
    answer = admission.dry_create(kind, spec)
    assert not answer.accepted
    assert case["at"] in answer.message
    assert case["says"] in answer.message
    said = parse(BY_KIND[kind].spec, spec)
    if case["says"] == "Duplicate value":
        return  # a matter of the list's type, which only the API server knows
    assert isinstance(said, Invalid)
    assert case["at"].replace("[memory]", ".memory") in said.message
    if any(case["says"] in message for message in rule_messages(BY_KIND[kind])):
        assert case["says"] in said.message


def test_at_least_forty_mistakes_are_told_apart() -> None:
    assert len(CASES) >= 40
    assert {kind for kind, _ in CASES} == set(BY_KIND)
    assert len({(kind, case["what"]) for kind, case in CASES}) == len(CASES)
    assert len({case["says"] for _, case in CASES}) >= 40


@pytest.mark.parametrize("name", ["Upper", "with.dot", "1st", "ends-", "x" * 64])
@pytest.mark.parametrize("kind", BY_KIND)
def test_a_name_that_cannot_be_a_service_name_is_refused(
    admission: Any, smallest: dict[str, Any], kind: str, name: str
) -> None:
    answer = admission.dry_create(kind, smallest[kind], name)
    assert not answer.accepted
    assert "metadata.name" in answer.message
