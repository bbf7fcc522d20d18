"""Conditions by the Kubernetes API conventions and the kstatus rules.

Sources: sig-architecture/api-conventions.md "Typical status properties";
kubernetes-sigs/cli-utils pkg/kstatus/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from hearth.api.base import Json

ConditionStatus = Literal["True", "False", "Unknown"]

MESSAGE_LIMIT = 1024
"""metav1.Condition allows 32768 characters; people read the first kilobyte."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition as it should be; the time of its last flip is worked out by `merge`."""

    type: str
    status: ConditionStatus
    reason: str
    message: str = ""


def rfc3339(moment: datetime) -> str:
    """A metav1.Time: whole seconds, UTC, with a Z."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def merge(old: Sequence[Json], wanted: Sequence[Condition], generation: int, now: datetime) -> list[Json]:
    """The conditions list to write: `lastTransitionTime` moves only when a condition's status flips."""
    before = {c["type"]: c for c in old}
    merged: list[Json] = []
    for condition in wanted:
        was = before.get(condition.type)
        kept = was is not None and was["status"] == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": cut(condition.message, MESSAGE_LIMIT),
                "observedGeneration": generation,
                "lastTransitionTime": was["lastTransitionTime"] if was is not None and kept else rfc3339(now),
            }
        )
    return merged


def cut(text: str, limit: int) -> str:
    """The text, in at most that many characters; an ellipsis says where more was."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def ready(reason: str, message: str) -> tuple[Condition, ...]:
    """Ready, and nothing in progress."""
    return (
        Condition("Ready", "True", reason, message),
        Condition("Reconciling", "False", reason),
        Condition("Stalled", "False", reason),
    )


def reconciling(reason: str, message: str) -> tuple[Condition, ...]:
    """Under way: not ready yet, and expected to be without anybody's help."""
    return (
        Condition("Ready", "False", reason, message),
        Condition("Reconciling", "True", reason, message),
        Condition("Stalled", "False", reason),
    )


def stalled(reason: str, message: str) -> tuple[Condition, ...]:
    """Stuck until somebody changes something: the message says what was found, expected, and to do next."""
    return (
        Condition("Ready", "False", reason, message),
        Condition("Reconciling", "False", reason),
        Condition("Stalled", "True", reason, message),
    )
