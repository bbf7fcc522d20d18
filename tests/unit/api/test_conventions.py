"""The rules that every kind keeps: structural schemas, bounded everything, no sentinels, safe merging.

Sources: sig-architecture/api-conventions.md; apiextensions-apiserver's ValidateStructural; kube-api-linter's rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hearth.api.base import Json
from hearth.api.cel import compile_rule
from hearth.api.crd_generate import custom_resource_definition
from hearth.api.crd_kind import CustomKind
from hearth.api.kinds import KINDS
from hearth.cli.crds import generated_files

ROOT = Path(__file__).resolve().parents[3]
LIMIT_BYTES = 150_000

STRUCTURAL = {
    *("description", "type", "format", "enum", "pattern", "default", "anyOf", "required"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "properties", "items", "additionalProperties"),
    *("x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type"),
    *("x-kubernetes-list-map-keys", "x-kubernetes-validations"),
}

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)


def root_schema(kind: CustomKind) -> Json:
    schema: Json = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every schema node below the root with its path; `[]` is an item of a list, `.*` a value of a map."""
    if path:
        yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}.*")


def ours(kind: CustomKind) -> list[tuple[str, Json]]:
    """The nodes of spec and status, themselves included."""
    return [(path, node) for path, node in nodes(root_schema(kind)) if path.startswith(("spec", "status"))]


def offenders(kind: CustomKind, wrong: Any) -> list[str]:
    return [path for path, node in ours(kind) if wrong(path, node)]


@every_kind
def test_schemas_are_structural(kind: CustomKind) -> None:
    for path, node in nodes(root_schema(kind)):
        assert set(node) <= STRUCTURAL, path
        typed = node.get("type") in {"object", "array", "string", "integer", "boolean"}
        assert typed != bool(node.get("x-kubernetes-int-or-string")), path
        assert (node.get("type") == "array") == ("items" in node), path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path


@every_kind
def test_items_of_lists_and_maps_have_no_transition_rules(kind: CustomKind) -> None:
    # The API server looks at them only where it can tell which item was which; `hearth plan` does not try.
    def compares(path: str, node: Json) -> bool:
        rules = node.get("x-kubernetes-validations", ())
        return ("[]" in path or ".*" in path) and any("oldSelf" in rule["rule"] for rule in rules)

    assert offenders(kind, compares) == []


@every_kind
def test_every_string_list_and_map_is_bounded(kind: CustomKind) -> None:
    # CEL's cost is estimated from the bounds; an unbounded field makes a rule over it too expensive to be accepted.
    def unbounded(_: str, node: Json) -> bool:
        text = node.get("type") == "string" or "x-kubernetes-int-or-string" in node
        closed = {"maxLength", "enum"} & set(node) or node.get("format") == "date-time"
        return (
            (text and not closed)
            or (node.get("type") == "array" and "maxItems" not in node)
            or ("additionalProperties" in node and "maxProperties" not in node)
        )

    assert offenders(kind, unbounded) == []


@every_kind
def test_every_object_names_its_fields_or_says_that_it_is_free_form(kind: CustomKind) -> None:
    known = {"properties", "additionalProperties", "x-kubernetes-preserve-unknown-fields"}
    assert offenders(kind, lambda _, node: node.get("type") == "object" and not known & set(node)) == []


@every_kind
def test_every_integer_of_the_spec_has_both_bounds(kind: CustomKind) -> None:
    def open_ended(path: str, node: Json) -> bool:
        return path.startswith("spec") and node.get("type") == "integer" and not {"minimum", "maximum"} <= set(node)

    assert offenders(kind, open_ended) == []


@every_kind
def test_every_list_tells_server_side_apply_how_to_merge(kind: CustomKind) -> None:
    for path, node in ours(kind):
        if node.get("type") != "array":
            continue
        how = node["x-kubernetes-list-type"]
        keys = node.get("x-kubernetes-list-map-keys", [])
        assert (how == "map") == bool(keys), path
        if how == "set":
            assert node["items"]["type"] in {"string", "integer"}, path
        for key in keys:
            # A key that may be absent makes two entries the same entry.
            assert key in node["items"].get("required", []), f"{path}.{key}"


@every_kind
def test_lists_of_named_things_merge_by_name(kind: CustomKind) -> None:
    def named_but_atomic(_: str, node: Json) -> bool:
        named = "name" in node.get("items", {}).get("required", [])
        return named and node["x-kubernetes-list-type"] != "map"

    assert offenders(kind, named_but_atomic) == []


@every_kind
def test_unset_is_never_written_as_a_value(kind: CustomKind) -> None:
    # `""`, `0` or `-1` as a default stands for "not set" and cannot be told from a real value.
    def sentinel(_: str, node: Json) -> bool:
        value = node.get("default")
        return not isinstance(value, bool) and value in ("", "0", 0, -1, [])

    assert offenders(kind, sentinel) == []


@every_kind
def test_a_spec_is_not_answered_with_a_regular_expression(kind: CustomKind) -> None:
    # `hearth.api.base.Written` has words for what is expected.
    assert offenders(kind, lambda path, node: path.startswith("spec") and "pattern" in node) == []


@every_kind
def test_rules_that_need_no_old_object_stand_below_the_root(kind: CustomKind) -> None:
    # The operator checks again what it reads, and it reads the spec alone.
    assert [rule.rule for rule in kind.root_rules if not rule.is_transition] == []


@every_kind
def test_list_items_have_no_defaults(kind: CustomKind) -> None:
    # The API server would add them to what is in Git, and GitOps tools would show drift for ever.
    assert offenders(kind, lambda path, node: "[]" in path and "default" in node) == []


@every_kind
def test_every_field_is_described(kind: CustomKind) -> None:
    def undescribed(path: str, node: Json) -> bool:
        field = not path.endswith(("[]", ".*"))
        return field and not re.search(r"\w.*[.)]$", node.get("description", ""))

    assert offenders(kind, undescribed) == []


@every_kind
def test_enumerations_are_camel_case_or_upper_case(kind: CustomKind) -> None:
    def odd(_: str, node: Json) -> bool:
        return any(not re.fullmatch(r"[A-Z][A-Za-z0-9_]*", str(value)) for value in node.get("enum", []))

    assert offenders(kind, odd) == []


@every_kind
def test_fields_are_camel_case(kind: CustomKind) -> None:
    def odd(path: str, _: Json) -> bool:
        return not re.fullmatch(
            r"[a-z][A-Za-z0-9]*", re.split(r"\.(?!\*)", path.replace("[]", "").removesuffix(".*"))[-1]
        )

    assert offenders(kind, odd) == []


@every_kind
def test_references_name_an_object_of_the_same_namespace(kind: CustomKind) -> None:
    def odd(path: str, node: Json) -> bool:
        reference = re.search(r"(?<!Key)Ref$", path) and path.startswith("spec")
        return bool(reference) and set(node["properties"]) != {"name"}

    assert offenders(kind, odd) == []


@every_kind
def test_the_status_speaks_for_programs(kind: CustomKind) -> None:
    status = root_schema(kind)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert {"observedGeneration", "conditions", "phase", "resolved", "pending", "failure"} <= set(status["properties"])
    assert "required" not in status
    condition = status["properties"]["conditions"]
    assert condition["x-kubernetes-list-map-keys"] == ["type"]
    assert condition["items"]["required"] == ["lastTransitionTime", "message", "reason", "status", "type"]


@every_kind
def test_every_kind_can_be_suspended(kind: CustomKind) -> None:
    assert root_schema(kind)["properties"]["spec"]["properties"]["suspend"]["type"] == "boolean"


def rules(kind: CustomKind) -> Iterator[tuple[str, Json, Json]]:
    """Every rule with its path and the schema node that it stands on."""
    root = root_schema(kind)
    for path, node in [("", root), *nodes(root)]:
        for rule in node.get("x-kubernetes-validations", []):
            yield path, rule, node


@every_kind
def test_rules_can_be_evaluated_without_an_api_server(kind: CustomKind) -> None:
    for _, rule, _ in rules(kind):
        compile_rule(rule["rule"])


@every_kind
def test_rules_compare_quantities_by_their_methods(kind: CustomKind) -> None:
    # The API server's quantities have no `<` or `>=`; it refuses the whole definition.
    for path, rule, _ in rules(kind):
        assert not re.search(r"\bquantity\((?:[^()]|\([^()]*\))*\)\s*(?:[<>]=?|[=!]=)", rule["rule"]), path


@every_kind
def test_rules_say_what_to_do_in_one_line(kind: CustomKind) -> None:
    for path, rule, _ in rules(kind):
        assert 10 <= len(rule["message"]) <= 300, path
        assert "\n" not in rule["message"], path


@every_kind
def test_immutability_stands_on_the_parent(kind: CustomKind) -> None:
    # A transition rule on the field itself is bypassed by removing the field and adding it again.
    for path, rule, node in rules(kind):
        if "oldSelf" in rule["rule"]:
            assert node["type"] == "object", path
            assert not re.search(r"\bself\s*==\s*oldSelf\b", rule["rule"]), path


@every_kind
def test_immutable_optional_fields_cannot_be_dropped_or_added(kind: CustomKind) -> None:
    for path, rule, node in rules(kind):
        for fixed in re.findall(r"\bself((?:\.\w+)+) == oldSelf\1(?![\w.])", rule["rule"]):
            if not _always_present(node, fixed):
                assert f"has(self{fixed}) == has(oldSelf{fixed})" in rule["rule"], f"{path}{fixed}"


def _always_present(node: Json, dotted: str) -> bool:
    for name in dotted.strip(".").split("."):
        if name not in node.get("required", []) and "default" not in node["properties"][name]:
            return False
        node = node["properties"][name]
    return True


@every_kind
def test_definitions_stay_small(kind: CustomKind) -> None:
    # Client-side `kubectl apply` keeps the whole object in an annotation of at most 262144 bytes.
    assert len(json.dumps(custom_resource_definition(kind))) < LIMIT_BYTES


@every_kind
def test_kubectl_get_shows_readiness_facts_and_age(kind: CustomKind) -> None:
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    shown = [column["name"] for column in version["additionalPrinterColumns"]]
    assert shown[:2] == ["Ready", "Reason"]
    assert shown[-1] == "Age"
    assert len(shown) >= 5


@every_kind
def test_columns_and_scale_point_at_fields_that_exist(kind: CustomKind) -> None:
    version = custom_resource_definition(kind)["spec"]["versions"][0]
    paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    paths += version["subresources"].get("scale", {}).values()
    known = {path.replace("[]", "") for path, _ in nodes(root_schema(kind))}
    for path in paths:
        plain = re.sub(r"\[[^]]*\]", "", path).lstrip(".")
        assert plain in known or plain == "metadata.creationTimestamp", path


def test_the_committed_files_are_those_that_the_models_give() -> None:
    stale = [path for path, text in generated_files().items() if (ROOT / path).read_text(encoding="utf-8") != text]
    assert stale == []


def test_nothing_else_lies_beside_the_generated_files() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "crds").glob("*")}
    assert there == {path for path in generated_files() if path.startswith("crds/")}
