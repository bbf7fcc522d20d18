"""Which changes are worth an Event, and which of those are a warning."""

from datetime import UTC, datetime

import pytest
from hearth.api.base import Json
from hearth.plan.conditions import Condition, merge, ready, reconciling, stalled
from hearth.plan.llmservice_status import events
from hearth.plan.transition import ready_event
from hearth.plan.world import Event


def status(*conditions: Condition) -> Json:
    return {"conditions": merge([], conditions, 1, datetime(2026, 11, 24, tzinfo=UTC))}


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (ready("Serving", "it answers"), "Normal"),
        (reconciling("Training", "step 3"), "Normal"),
        (stalled("MalformedRow", "line 2"), "Warning"),
        (reconciling("SourceNotFound", "ConfigMap rows does not exist"), "Warning"),
        (reconciling("StorageClassNotFound", "no class fast"), "Warning"),
        (reconciling("Unschedulable", "no node has room"), "Warning"),
    ],
)
def test_somebody_is_warned_where_somebody_has_to_act(after: tuple[Condition, ...], kind: str) -> None:
    (event,) = ready_event({}, status(*after))
    assert (event.type, event.reason, event.note) == (kind, after[0].reason, after[0].message)


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
