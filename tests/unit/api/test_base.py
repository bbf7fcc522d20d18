"""The scalar types that every API model is made of."""

import pytest
from hearth.api.base import Duration, Quantity, Rule, quantity, seconds
from hearth.api.cel import holds
from pydantic import BaseModel, ValidationError


class Disk(BaseModel):
    size: Quantity


def test_a_quantity_may_be_a_bare_whole_number() -> None:
    assert Disk.model_validate({"size": 2}).size == "2"


@pytest.mark.parametrize("wrong", [0.5, True, "20GiB", "", "-1Gi", None])
def test_a_quantity_refuses_what_the_api_server_refuses(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Disk.model_validate({"size": wrong})


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", 0.5), ("24G", 24e9), ("1Ki", 1024.0), ("20Gi", 20 * 2.0**30), ("3", 3.0), ("1e3", 1000.0), ("2E", 2e18)],
)
def test_quantities_are_decimal_or_binary_by_suffix(text: str, number: float) -> None:
    assert quantity(text) == number


@pytest.mark.parametrize(("text", "whole"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800)])
def test_durations_add_up(text: str, whole: int) -> None:
    assert seconds(text) == whole


class Wait(BaseModel):
    time: Duration


LONGEST = "9999d999999h9s"
"""As many digits as the text may have characters."""


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        *(("90s", True), ("1d12h", True), ("0h30m", True), ("604800s", True), ("010m", True), (LONGEST, True)),
        *(("0s", False), ("0h0m", False), ("9999999d", False), ("10000d", False), ("1234567s", False)),
        *(("50", False), ("1m1h", False), ("-5m", False), ("1.5h", False), ("5m ", False)),
    ],
)
def test_a_duration_is_more_than_nothing_and_no_more_than_programs_can_count(text: str, accepted: bool) -> None:
    rules = Wait.model_json_schema()["properties"]["time"]["x-kubernetes-validations"]
    assert all(holds(rule["rule"], {"self": text}) for rule in rules) is accepted, "the API server's rule"
    if accepted:
        assert Wait(time=text).time == text
    else:
        with pytest.raises(ValidationError, match="write a duration such as 90s"):
            Wait(time=text)


def test_the_longest_duration_fits_into_gos() -> None:
    assert seconds("9999d999999h999999m999999s") * 10**9 < 2**63


def test_a_rule_is_written_without_what_is_unset() -> None:
    rule = Rule("self.a == oldSelf.a", "a is fixed", field_path=".a")
    assert rule.as_json() == {"rule": "self.a == oldSelf.a", "message": "a is fixed", "fieldPath": ".a"}
    assert rule.is_transition
    assert not Rule("has(self.oldSelfless)", "no").is_transition


def test_a_rule_on_a_text_answers_in_words() -> None:
    with pytest.raises(ValidationError, match="write a quantity such as 20Gi"):
        Disk.model_validate({"size": "20GB"})
    schema = Disk.model_json_schema()["properties"]["size"]
    assert "pattern" not in schema
    assert schema["x-kubernetes-validations"][0]["message"].startswith("write a quantity")
