"""The Event that a change of Ready is told with: people see it in `kubectl describe`, alerts count it."""

from __future__ import annotations

from hearth.api.base import Json
from hearth.plan.world import Event

MISSING = "NotFound"
"""How reasons end that wait for an object somebody has to create: not stalled, and yet nothing comes by itself."""


def ready_event(live: Json, status: Json) -> tuple[Event, ...]:
    """An Event where Ready has a new status or reason; a Warning where somebody has to do something."""
    before, after = condition(live, "Ready"), condition(status, "Ready")
    if (before.get("status"), before.get("reason")) == (after["status"], after["reason"]):
        return ()
    stuck = condition(status, "Stalled").get("status") == "True"
    bad = stuck or after["reason"].endswith(MISSING) or after["reason"] == "Unschedulable"
    return (Event("Warning" if bad else "Normal", after["reason"], after["message"] or after["reason"]),)


def condition(status: Json, kind: str) -> Json:
    """A condition of a status, or an empty one."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})
