"""Which changes are worth an Event, and which of those are a warning."""

from datetime import UTC, datetime

import pytest
from hearth.api.base import Json
from hearth.plan.conditions import Condition, merge, ready, reconciling, stalled
from hearth.plan.llmservice_status import events
from hearth.plan.transition import ready_event
from hearth.plan.world import Event

ROLLING = reconciling("RollingOut", "engine: 0 of 1 pods are of the newest revision, 0 answer")
SERVING = ready("Serving", "it answers")
BROKEN = stalled("MalformedRow", "line 2")
MISSING = reconciling("SourceNotFound", "ConfigMap rows does not exist")


def status(*conditions: Condition, generation: int = 1) -> Json:
    merged = merge([], conditions, generation, datetime(2026, 11, 24, tzinfo=UTC))
    return {"observedGeneration": generation, "conditions": merged}


@pytest.mark.parametrize(
    "after",
    [
        BROKEN,
        MISSING,
        reconciling("StorageClassNotFound", "no class fast"),
        reconciling("Unschedulable", "no node has room"),
    ],
)
def test_somebody_is_warned_where_somebody_has_to_act(after: tuple[Condition, ...]) -> None:
    (event,) = ready_event({}, status(*after))
    assert event == Event("Warning", after[0].reason, after[0].message)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, status(*reconciling("Inspecting", "reading oci://m"))),
        (status(*reconciling("Inspecting", "reading oci://m")), status(*ROLLING)),
        (status(*ROLLING), status(*SERVING)),
        (status(*SERVING), status(*ROLLING, generation=2)),
    ],
)
def test_steps_on_the_ordinary_way_are_told_by_conditions_alone(before: Json, after: Json) -> None:
    assert ready_event(before, after) == ()


@pytest.mark.parametrize("wrong", [BROKEN, MISSING])
@pytest.mark.parametrize("after", [ROLLING, SERVING])
def test_what_was_wrong_and_is_no_longer_is_told(wrong: tuple[Condition, ...], after: tuple[Condition, ...]) -> None:
    assert ready_event(status(*wrong), status(*after)) == (Event("Normal", after[0].reason, after[0].message),)


def test_what_stops_being_ready_without_a_change_of_its_spec_is_told() -> None:
    assert ready_event(status(*SERVING), status(*ROLLING)) == (Event("Normal", "RollingOut", ROLLING[0].message),)


def test_the_end_of_work_is_told() -> None:
    training, succeeded = status(*reconciling("Training", "step 3")), status(*ready("Succeeded", "180 steps"))
    assert ready_event(training, succeeded, ends=True) == (Event("Normal", "Succeeded", "180 steps"),)


def test_another_message_alone_is_no_event() -> None:
    before, after = status(*reconciling("Training", "step 3")), status(*reconciling("Training", "step 4"))
    assert ready_event(before, after) == ()


def test_a_model_that_outlives_its_job_is_told_once_although_the_service_stays_ready() -> None:
    serving = ready("Serving", "it answers")
    known = status(*serving, Condition("ModelReady", "True", "Known", "a model"))
    orphaned = status(*serving, Condition("ModelReady", "True", "SourceDeleted", "its job was deleted"))
    assert events(known, orphaned) == (Event("Warning", "SourceDeleted", "its job was deleted"),)
    assert events(orphaned, orphaned) == ()
    assert events(orphaned, known) == ()
