"""What the operator says in a status when a child cannot be written."""

from __future__ import annotations

from datetime import UTC, datetime

from hearth.api.base import Json
from hearth.kube.problems import child_refused, with_problems
from hearth.plan.world import ObjectKey
from widget import widget

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PROBLEM = child_refused(ObjectKey("PersistentVolumeClaim", "default", "data"), "only dynamically provisioned")


def told(ready: str) -> dict[str, Json]:
    planned = {"conditions": [{"type": "Ready", "status": ready, "reason": "Planned", "message": ""}]}
    status = with_problems(planned, widget("w"), [PROBLEM], NOW)
    return {condition["type"]: condition for condition in status["conditions"]}


def test_what_serves_is_still_ready_while_a_child_is_refused() -> None:
    conditions = told("True")
    assert conditions["Ready"]["reason"] == "Planned"
    assert conditions["Stalled"]["reason"] == "ChildRefused"


def test_what_does_not_serve_says_why() -> None:
    conditions = told("False")
    assert conditions["Ready"]["reason"] == "ChildRefused"
    assert conditions["Ready"]["status"] == "False"
