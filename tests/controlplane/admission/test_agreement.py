"""The API server accepts a spec exactly when the models do: one truth, checked in two places."""

from __future__ import annotations

from typing import Any

import pytest
from hearth.api.base import Json
from hearth.api.cel import holds
from hearth.api.crd_generate import custom_resource_definition
from hearth.api.crd_kind import CustomKind
from hearth.api.kinds import KINDS
from hearth.plan.validation import Invalid, parse
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.controlplane
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)

TEXTS = (
    *("a", "court", "team-a", "a.b", "UPPER", "", "-", "x" * 70, "x" * 300, "two words"),
    *("0", "1", "0.5", "0.05", "2e-4", "-1", "7", "0,5", ".5", "8.0", "10.0"),
    *("20Gi", "24G", "500m", "20GB", "1e3", "5m", "1h30m", "7d", "300", "m", "90s", "0s", "12345d"),
    *("hf://org/model@main", "pvc://claim/path", "configMap://rows/key", "oci://image", "https://host/x", "ftp://x"),
    *("pvc://../x", "configMap:///x", "pvc://claim\n", "configMap://Rows/key"),
    *("@daily", "0 3 * * *", "sha256:" + "a" * 64, "temperature", "all-linear", "{passages} {question}", "base"),
)
WRONG_TYPES = st.sampled_from([True, 3, 0.5, "text", ["a"], {"a": "b"}])


def values(node: Json) -> st.SearchStrategy[Any]:
    """Values near what a schema allows: mostly of the right type, often at or just beyond a bound."""
    return _mostly(_typed(node), WRONG_TYPES)


def _mostly(usual: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """So seldom that a spec of a few dozen values has a fair chance to be valid as a whole."""
    return st.integers(0, 99).flatmap(lambda drawn: seldom if drawn == 99 else usual)


def _typed(node: Json) -> st.SearchStrategy[Any]:
    if "enum" in node:
        return _mostly(st.sampled_from(node["enum"]), st.just("Other"))
    if node.get("x-kubernetes-int-or-string"):
        return st.one_of(_texts(node), st.sampled_from([0, 2, 10**9, -1]))
    match node["type"]:
        case "object":
            return _objects(node)
        case "array":
            return _lists(node)
        case "integer":
            low, high = node.get("minimum", -2), node.get("maximum", 10**6)
            return _mostly(
                st.sampled_from([low, low + 1, (low + high) // 2, high]), st.sampled_from([low - 1, high + 1])
            )
        case "boolean":
            return st.booleans()
        case _:
            return _texts(node)


def _texts(node: Json) -> st.SearchStrategy[str]:
    """Texts for this field, mostly such as its own rules take."""
    rules = [rule["rule"] for rule in node.get("x-kubernetes-validations", [])]
    good = [
        text
        for text in TEXTS
        if node.get("minLength", 0) <= len(text) <= node.get("maxLength", 1024)
        and all(holds(rule, {"self": text}) for rule in rules)
    ]
    return _mostly(st.sampled_from(good or TEXTS), st.sampled_from(TEXTS))


def _objects(node: Json) -> st.SearchStrategy[Json]:
    if "properties" in node:
        required = set(node.get("required", []))
        optional = {k: values(v) for k, v in node["properties"].items() if k not in required}
        known = st.fixed_dictionaries({k: values(node["properties"][k]) for k in sorted(required)}, optional=optional)
        return _mostly(known, known.map(lambda obj: {**obj, "unheardOf": 1}))
    inner = values(node["additionalProperties"]) if "additionalProperties" in node else st.sampled_from(TEXTS)
    return st.dictionaries(st.sampled_from(["app", "team", "cpu", "hearth.dev/name"]), inner, max_size=3)


def _lists(node: Json) -> st.SearchStrategy[list[Any]]:
    # Duplicates are left out: that lists hold none is a matter of the list's type, which only the API server knows.
    keys = node.get("x-kubernetes-list-map-keys")

    def identity(item: Any) -> str:
        return repr([item.get(key) for key in keys]) if keys and isinstance(item, dict) else repr(item)

    return st.lists(values(node["items"]), max_size=3, unique_by=identity)


@every_kind
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_spec_is_accepted_by_both_or_by_neither(admission: Any, smallest: Any, kind: CustomKind, data: Any) -> None:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = data.draw(st.lists(st.sampled_from(sorted(schema["properties"])), min_size=1, max_size=3, unique=True))
    spec = {**smallest[kind.kind], **{name: data.draw(values(schema["properties"][name]), name) for name in fields}}
    answer = admission.dry_create(kind.kind, spec)
    said = parse(kind.spec, spec)
    note(f"API server: {answer.accepted} {answer.message}\nmodels: {said}")
    assert answer.accepted == (not isinstance(said, Invalid))
