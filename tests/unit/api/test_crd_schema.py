"""What the generator makes of a model: structural, and by this API's conventions."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from hearth.api.base import ApiModel, ListMap, ListSet, Name, PreserveUnknown, Quantity, Rule, Timestamp
from hearth.api.crd_schema import SchemaError, structural_schema
from pydantic import Field


class Part(ApiModel):
    """One part."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (Rule("self.name != 'x'", "no x"),)

    name: Name
    """Its name."""


class Whole(ApiModel):
    """The whole."""

    part: Part
    """The part that
    matters."""
    spare: Part | None = None
    """The other part."""
    parts: Annotated[list[Part], Field(max_length=4), ListMap()] | None = None
    tags: Annotated[list[Name], Field(max_length=4), ListSet()] | None = None
    steps: Annotated[list[int], Field(max_length=4)] | None = None
    size: Quantity | None = None
    mode: Literal["Fast", "Slow"] = "Fast"
    only: Literal["One"] | None = None
    count: Annotated[int, Field(ge=0, le=16)] | None = None
    big: Annotated[int, Field(gt=0)] | None = None
    free: Annotated[dict[str, Any], PreserveUnknown()] | None = None
    labels: Annotated[dict[str, Name], Field(max_length=3)] | None = None
    at: Timestamp | None = None
    nested: Part = Part(name="a")


SCHEMA = structural_schema(Whole)["properties"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (
            "steps",
            {"type": "array", "maxItems": 4, "items": {"type": "integer", "format": "int64"}}
            | {"x-kubernetes-list-type": "atomic"},
        ),
        ("mode", {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"}),
        ("only", {"type": "string", "enum": ["One"]}),
        ("count", {"type": "integer", "format": "int32", "minimum": 0, "maximum": 16}),
        ("big", {"type": "integer", "format": "int64", "minimum": 0, "exclusiveMinimum": True}),
        ("free", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}),
        ("at", {"type": "string", "format": "date-time"}),
    ],
)
def test_a_field_becomes(field: str, expected: dict[str, Any]) -> None:
    assert SCHEMA[field] == expected


def test_references_are_inlined_with_the_fields_own_description_and_the_models_rules() -> None:
    assert SCHEMA["part"]["description"] == "The part that matters."
    assert SCHEMA["spare"]["description"] == "The other part."
    for name in ("part", "spare"):
        assert SCHEMA[name]["properties"]["name"]["maxLength"] == 63
        assert SCHEMA[name]["x-kubernetes-validations"] == [{"rule": "self.name != 'x'", "message": "no x"}]


def test_lists_tell_server_side_apply_how_to_merge() -> None:
    assert SCHEMA["parts"]["x-kubernetes-list-type"] == "map"
    assert SCHEMA["parts"]["x-kubernetes-list-map-keys"] == ["name"]
    assert SCHEMA["tags"]["x-kubernetes-list-type"] == "set"
    assert SCHEMA["steps"]["x-kubernetes-list-type"] == "atomic"


def test_a_quantity_is_an_integer_or_a_string() -> None:
    assert "type" not in SCHEMA["size"]
    assert SCHEMA["size"]["x-kubernetes-int-or-string"] is True


def test_optional_fields_are_neither_required_nor_nullable_nor_defaulted() -> None:
    whole = structural_schema(Whole)
    assert whole["required"] == ["part"]
    assert "default" not in SCHEMA["spare"]
    assert "null" not in str(whole)
    assert SCHEMA["nested"]["default"] == {"name": "a"}


class Loop(ApiModel):
    again: Loop | None = None


class Union(ApiModel):
    either: int | str


class Nullable(ApiModel):
    must: Part | None


class DefaultedItem(ApiModel):
    mode: Literal["Fast", "Slow"] = "Fast"


class ListOfDefaults(ApiModel):
    items: list[DefaultedItem]


class Tuple(ApiModel):
    pair: tuple[int, int]


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        (Loop, "Loop.again: Loop contains itself"),
        (Union, "Union.either: a union of 2 types"),
        (Nullable, "Nullable.must: required and nullable"),
        (ListOfDefaults, r"ListOfDefaults.items\[\].mode: a default inside list items"),
        (Tuple, "Tuple.pair: no structural form for prefixItems"),
    ],
)
def test_what_has_no_structural_form_is_refused_with_its_place(model: type[ApiModel], complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        structural_schema(model)
