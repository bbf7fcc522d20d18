"""Which changes of Ready are told with an Event: people see them in `kubectl describe`, alerts count them."""

from __future__ import annotations

from hearth.api.base import Json
from hearth.plan.world import Event

MISSING = "NotFound"
"""How reasons end that wait for an object somebody has to create: not stalled, and yet nothing comes by itself."""


def ready_event(live: Json, status: Json, *, ends: bool = False) -> tuple[Event, ...]:
    """An Event where something is wrong, is no longer wrong, or where work that has an end (`ends`) was finished.

    Steps on the ordinary way are told by conditions alone, as the controllers of Deployments and Jobs do it: an Event
    for each would be one more write per step and resource, and bury the few that matter. A Warning asks somebody to do
    something.
    """
    before, after = condition(live, "Ready"), condition(status, "Ready")
    if (before.get("status"), before.get("reason")) == (after["status"], after["reason"]):
        return ()
    bad = _needs_somebody(status)
    finished = ends and after["status"] == "True"
    if not (bad or finished or _needs_somebody(live) or _lost_unasked(live, status)):
        return ()
    return (Event("Warning" if bad else "Normal", after["reason"], after["message"] or after["reason"]),)


def _needs_somebody(status: Json) -> bool:
    reason = condition(status, "Ready").get("reason", "")
    stuck = condition(status, "Stalled").get("status") == "True"
    return stuck or reason.endswith(MISSING) or reason == "Unschedulable"


def _lost_unasked(live: Json, status: Json) -> bool:
    """Whether it was Ready, is not any more, and nobody changed its spec."""
    flipped = condition(live, "Ready").get("status") == "True" != condition(status, "Ready")["status"]
    return flipped and live.get("observedGeneration") == status.get("observedGeneration")


def condition(status: Json, kind: str) -> Json:
    """A condition of a status, or an empty one."""
    return next((c for c in status.get("conditions", []) if c["type"] == kind), {})
