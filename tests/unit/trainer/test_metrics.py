"""Figures of merit, and the gate over them."""

import json
from typing import Any

import pytest
from hearth_trainer.config import GateConfig
from hearth_trainer.gate import judge
from hearth_trainer.metrics import Wanted, field_f1, is_settled, score
from hypothesis import given
from hypothesis import strategies as st

TARGET = {"name": "Ada", "age": 36, "tags": ["x", "y"]}


@pytest.mark.parametrize(
    ("answer", "f1"),
    [
        (TARGET, 1.0),
        ({"tags": ["x", "y"], "age": 36, "name": " Ada "}, 1.0),
        ({**TARGET, "age": "36"}, 1.0),
        ({**TARGET, "name": "Bob"}, 0.75),
        ({**TARGET, "extra": 1}, 8 / 9),
        ({"name": "Ada"}, 0.4),
        ({"tags": ["y", "x"]}, 0.0),
        ({}, 0.0),
        (None, 0.0),
    ],
)
def test_f1_counts_fields(answer: dict[str, object] | None, f1: float) -> None:
    assert field_f1(TARGET, answer) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("target", "answer", "f1"),
    [
        ({}, {}, 1.0),
        ({"parties": []}, {"parties": []}, 1.0),
        ({"a": {}}, {"a": {}}, 1.0),
        ({"a": {}}, {"a": []}, 0.0),
        ({"a": []}, {}, 0.0),
        ({"a": 1, "refs": []}, {"a": 1}, 2 / 3),
        ({"a": 1}, {"a": 1, "refs": [], "more": {}}, 0.5),
        ({"a": 1, "refs": []}, {"a": 1, "refs": ["x"]}, 0.5),
    ],
)
def test_a_list_or_object_with_nothing_in_it_is_a_field(
    target: dict[str, Any], answer: dict[str, Any], f1: float
) -> None:
    assert field_f1(target, answer) == pytest.approx(f1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (36, "36", True),
        (1.5, " 1.5 ", True),
        (1, 1.0, False),
        (None, "null", False),
        (True, "true", False),
        (True, 1, False),
        ([], "[]", False),
        ({"b": 1}, {"b": 2}, False),
    ],
)
def test_only_numbers_may_stand_in_quotes_or_not(one: object, other: object, same: bool) -> None:
    assert field_f1({"a": one}, {"a": other}) == field_f1({"a": other}, {"a": one}) == float(same)


def test_a_dot_in_a_key_is_no_nesting() -> None:
    assert field_f1({"a.b": 1}, {"a": {"b": 1}}) == 0.0
    assert field_f1({"a[0]": 1}, {"a": [1]}) == 0.0
    assert field_f1({"a": {"0": 1}}, {"a": [1]}) == 0.0


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_only_python_takes_for_a_number_is_no_json(number: str) -> None:
    assert score(['{"n": 1}'], [f'{{"n": {number}}}']) == {"ExactMatch": 0.0, "JSONValid": 0.0, "JSONFieldF1": 0.0}


def test_json_metrics_look_only_at_rows_whose_target_is_an_object() -> None:
    told = json.dumps(TARGET)
    figures = score([told, told, "not in the documents"], [told, "{broken", "not in the documents"])
    assert figures == pytest.approx({"ExactMatch": 2 / 3, "JSONValid": 0.5, "JSONFieldF1": 0.5})


def test_without_such_rows_there_are_no_json_metrics() -> None:
    assert score(["yes"], ["no"]) == {"ExactMatch": 0.0}


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=3)


@given(OBJECTS)
def test_an_object_matches_itself(value: dict[str, object]) -> None:
    assert field_f1(value, json.loads(json.dumps(value))) == 1.0


@given(OBJECTS, VALUES)
def test_a_field_that_is_missing_or_added_costs(value: dict[str, object], more: object) -> None:
    key = "".join(value) + "+"
    assert field_f1(value | {key: more}, value) < 1.0
    assert field_f1(value, value | {key: more}) < 1.0


SCORES = {"base": {"JSONFieldF1": 0.1, "Loss": 2.0}, "tuned": {"JSONFieldF1": 0.9, "Loss": 0.2}}


@pytest.mark.parametrize(
    ("gate", "passed", "reason"),
    [
        (GateConfig(metric="JSONFieldF1", at_least=0.9), True, "JSONFieldF1 0.9000 is at least 0.9"),
        (GateConfig(metric="JSONFieldF1", at_least=0.95), False, "JSONFieldF1 0.9000 is below 0.95"),
        (GateConfig(metric="JSONFieldF1", beats=("base",)), True, "JSONFieldF1 0.9000 beats base's 0.1000"),
        (GateConfig(metric="Loss", beats=("base",)), True, "Loss 0.2000 beats base's 2.0000"),
        (GateConfig(metric="ExactMatch", at_least=0.5), False, "ExactMatch could not be measured"),
    ],
)
def test_the_gate_gives_the_figures_behind_its_verdict(gate: GateConfig, passed: bool, reason: str) -> None:
    verdict, said = judge(gate, SCORES)
    assert verdict is passed
    assert said.startswith(reason)


def test_being_equal_is_not_beating() -> None:
    same = {"base": {"ExactMatch": 0.5}, "tuned": {"ExactMatch": 0.5}}
    assert judge(GateConfig(metric="ExactMatch", beats=("base",)), same) == (
        False,
        "ExactMatch 0.5000 is no better than base's 0.5000",
    )


OBJECT = '{"court": "Harbour", "won": true}'


@pytest.mark.parametrize(
    ("target", "begun"),
    [
        (OBJECT, ""),
        (OBJECT, " \n"),
        (OBJECT, '\n{"court"'),
        (OBJECT, '{ "court": "Sea"'),
        ("12 days [1]", "12 da"),
        ("12 days [1]", "12 days [1] \n"),
        ("Zürich", "Z\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_answer_that_can_still_score_is_not_settled(target: str, begun: str) -> None:
    assert not is_settled(target, begun)


@pytest.mark.parametrize(
    ("target", "begun"),
    [(OBJECT, "The court"), (OBJECT, "```json\n{"), ("12 days [1]", "13"), ("12 days [1]", "{"), ("12", "12 days")],
)
def test_an_answer_that_scores_nothing_however_it_goes_on_is_settled(target: str, begun: str) -> None:
    assert is_settled(target, begun)


@given(target=st.text() | st.just(OBJECT), answer=st.text() | st.just(OBJECT), length=st.integers(0, 40))
def test_whatever_follows_a_settled_beginning_scores_nothing(target: str, answer: str, length: int) -> None:
    if is_settled(target, answer[:length]):
        assert not any(score([target], [answer]).values())


LEAD = "<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (f"{LEAD}{OBJECT}", OBJECT),
        (f"\n<think>\n\n</think> {OBJECT}", OBJECT),
        (OBJECT, OBJECT),
        ("<think>\nWell, the court", "<think>\nWell, the court"),
        ("<think>\n", ""),
        ("", ""),
    ],
    ids=["behind it", "other spaces", "without it", "something else", "begun", "nothing"],
)
def test_an_answer_is_what_is_said_behind_the_templates_lead(said: str, answer: str) -> None:
    assert Wanted(OBJECT, LEAD).answer(said).strip() == answer
    assert Wanted(OBJECT).answer(said) == said.lstrip()


@pytest.mark.parametrize(
    "begun", ["<th", "<think>\n\n</th\N{REPLACEMENT CHARACTER}", LEAD, f'{LEAD}{{"court"', '{"court']
)
def test_an_answer_is_not_settled_within_the_lead(begun: str) -> None:
    assert not Wanted(OBJECT, LEAD).is_settled(begun)


@pytest.mark.parametrize("begun", ["<think>\nWell", f"{LEAD}The court", "The court"])
def test_an_answer_that_goes_on_otherwise_than_the_lead_or_the_target_is_settled(begun: str) -> None:
    assert Wanted(OBJECT, LEAD).is_settled(begun)


@given(
    target=st.text() | st.just(OBJECT),
    lead=st.text() | st.just(LEAD),
    begun=st.sampled_from(["", LEAD, LEAD[:9], " "]) | st.text(),
    rest=st.text() | st.just(OBJECT),
    length=st.integers(0, 40),
)
def test_whatever_follows_a_settled_beginning_behind_a_lead_scores_nothing(
    target: str, lead: str, begun: str, rest: str, length: int
) -> None:
    wanted, said = Wanted(target, lead), begun + rest
    if wanted.is_settled(said[:length]):
        assert not any(score([target], [wanted.answer(said)]).values())
