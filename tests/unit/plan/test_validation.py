"""A stored spec that is wrong gives one clear message."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import pytest
from hearth.api.base import ApiModel, Decimal, Rule
from hearth.api.shapes import ModelSource
from hearth.plan.validation import Invalid, parse
from pydantic import Field


class Spec(ApiModel):
    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.rank) || self.rank != 3", "three is odd", field_path=".rank"),
        Rule("self.method == oldSelf.method", "method is fixed"),
    )

    model: ModelSource
    method: Literal["LoRA", "Full"] = "LoRA"
    rank: Annotated[int, Field(ge=1)] | None = None
    rate: Decimal | None = None
    adapters: list[ModelSource] | None = None
    named: dict[str, ModelSource] | None = None


GOOD = {"uri": "hf://a/b"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.model: required"),
        ({"model": GOOD, "metod": "Full"}, "spec.metod: unknown field"),
        ({"model": GOOD, "rate": 0.05}, 'spec.rate: write "0.05", quoted'),
        ({"model": GOOD, "method": "lora"}, "spec.method: \"lora\" is not one of 'LoRA', 'Full'"),
        ({"model": GOOD, "rank": 0}, "spec.rank: input should be greater than or equal to 1, found 0"),
        ({"model": GOOD, "rank": "8"}, 'spec.rank: input should be a valid integer, found "8"'),
        ({"model": GOOD, "rank": 3}, "spec.rank: three is odd"),
        ({"model": {}}, "spec.model: set exactly one of uri and fromFineTune"),
        ({"model": GOOD, "adapters": [GOOD, {}]}, "spec.adapters[1]: set exactly one"),
        ({"model": GOOD, "named": {"x": {}}}, "spec.named.x: set exactly one"),
        ({"model": {"uri": "ftp://x"}}, "spec.model: uri must start with hf://, pvc:// or oci://"),
    ],
)
def test_a_wrong_spec_is_told_where_and_what(spec: dict[str, Any], message: str) -> None:
    result = parse(Spec, spec)
    assert isinstance(result, Invalid)
    assert result.message.startswith(message)


def test_a_good_spec_comes_back_with_its_defaults() -> None:
    parsed = parse(Spec, {"model": GOOD})
    assert isinstance(parsed, Spec)
    assert parsed.method == "LoRA"


def test_transition_rules_are_left_to_the_api_server() -> None:
    assert isinstance(parse(Spec, {"model": GOOD, "method": "Full"}), Spec)


def test_many_complaints_do_not_hide_the_first() -> None:
    result = parse(Spec, {"model": GOOD} | {f"x{n}": 1 for n in range(9)})
    assert isinstance(result, Invalid)
    assert result.message.startswith("spec.x0: unknown field; ")
    assert result.message.endswith("and 4 more")
