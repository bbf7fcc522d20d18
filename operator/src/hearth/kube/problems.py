"""What the operator itself has to say in a status, whatever the kind: a name is taken, a child is refused, a bug."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from hearth.api.base import Json
from hearth.plan.conditions import Condition, cut, merge, stalled
from hearth.plan.world import Event, ObjectKey

QUOTED = 600
"""Characters of an answer that quotes the whole value it refuses; what to do stands behind it."""

PAUSED = Condition(
    "Paused",
    "True",
    "ReconcileDisabled",
    "The annotation hearth.dev/reconcile is set to disabled: nothing is changed until it is removed.",
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an action of a plan could not be performed, and will not be by trying harder."""

    reason: str
    message: str


def name_taken(child: ObjectKey, owner: ObjectKey, controller: Json | None) -> Problem:
    """Somebody else's object has the name of a child."""
    whose = f"controlled by {controller['kind']} {controller['name']}" if controller else "not controlled by anything"
    return Problem(
        "NameTaken",
        f"{child.kind} {child.name} exists already and is {whose}; it was left as it is. "
        f"Delete or rename it, or give this {owner.kind} another name.",
    )


def child_refused(child: ObjectKey, message: str) -> Problem:
    """The API server, an admission policy or a quota does not accept a child."""
    return Problem("ChildRefused", f"The API server refused {child.kind} {child.name}: {message}")


def with_problems(status: Json, owner: Json, problems: Sequence[Problem], now: datetime) -> Json:
    """The planned status, with Reconciling and Stalled telling of the problems instead, and Ready where it is not True.

    What serves goes on to serve while one of its children cannot be written.
    """
    message = " ".join(problem.message for problem in problems)
    told = stalled(problems[0].reason, message)
    if any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()):
        told = tuple(condition for condition in told if condition.type != "Ready")
    return _with_conditions(status, owner, told, now)


def internal_error(error: BaseException) -> Problem:
    """A plan failed."""
    return Problem(
        "InternalError",
        f"{type(error).__name__}: {error}. This is a bug in Hearth: please report it with the operator's log. "
        "What runs was left as it is; the operator tries again, at most every five minutes.",
    )


def status_refused(message: str) -> Problem:
    """The API server does not take the status that was planned."""
    return Problem(
        "StatusRefused",
        f"The API server refused the status of this resource: {cut(message, QUOTED)}. All else shown is as it was "
        "before. Either the CRDs are older than the operator: install charts/hearth-crds of its version; or this is a "
        "bug in Hearth: please report it. The operator tries again, at most every five minutes.",
    )


def reference_refused(message: str) -> Problem:
    """The API server does not let the operator read an object that the resource names."""
    return Problem(
        "ReferenceRefused",
        f"The API server refused to show an object that this resource names: {cut(message, QUOTED)}. What runs was "
        "left as it is; the operator tries again, at most every five minutes.",
    )


def without_plan(owner: Json, problem: Problem, now: datetime) -> Json:
    """The status that stands, with Stalled=True: what was planned is not known, or cannot be written down."""
    wanted = (
        Condition("Reconciling", "False", problem.reason),
        Condition("Stalled", "True", problem.reason, problem.message),
    )
    return _with_conditions(_standing(owner), owner, (*_unknown_readiness(owner, problem.reason), *wanted), now)


def event_of(problem: Problem) -> Event:
    """What `kubectl describe` shows of it."""
    return Event("Warning", problem.reason, problem.message)


def paused(owner: Json, now: datetime) -> Json:
    """The status that stands, with the condition Paused."""
    return _with_conditions(_standing(owner), owner, (*_unknown_readiness(owner, PAUSED.reason), PAUSED), now)


def _unknown_readiness(owner: Json, reason: str) -> tuple[Condition, ...]:
    known = {condition["type"] for condition in _standing(owner).get("conditions") or ()}
    return () if "Ready" in known else (Condition("Ready", "Unknown", reason),)


def _standing(owner: Json) -> Json:
    return dict(owner.get("status") or {})


def _with_conditions(status: Json, owner: Json, wanted: Sequence[Condition], now: datetime) -> Json:
    live = (owner.get("status") or {}).get("conditions") or []
    fresh = merge(live, wanted, owner["metadata"].get("generation", 0), now)
    replaced = {condition["type"] for condition in fresh}
    others = [c for c in status.get("conditions") or () if c["type"] not in replaced]
    return {**status, "conditions": [*fresh, *others]}
