"""Why a resource failed and what it waits for, as every kind's status has it, within what its CRD allows.

Other programs' words are part of both: a scheduler's message may be longer than any limit, and one field that is too
long makes the API server refuse the whole status.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hearth.api.base import Json
from hearth.plan.conditions import cut, rfc3339

MESSAGE_LIMIT = 4096
TEXT_LIMIT = 1024
WAITING_LIMIT = 50


def failure(kind: str, message: str, *, retryable: bool, suggestion: str | None = None) -> Json:
    """`status.failure`."""
    told: Json = {"class": kind, "retryable": retryable, "message": cut(message, MESSAGE_LIMIT)}
    return told | ({"suggestion": cut(suggestion, TEXT_LIMIT)} if suggestion else {})


def pending(live: Json, reason: str, waiting_on: Iterable[str], now: datetime) -> Json:
    """`status.pending`: since when is kept while the reason is the same. `waitingOn` is a set, in this order."""
    before = live.get("pending", {})
    since = before["since"] if before.get("reason") == reason else rfc3339(now)
    on = list(dict.fromkeys(cut(what, TEXT_LIMIT) for what in waiting_on))
    return {"since": since, "reason": reason, "waitingOn": on[:WAITING_LIMIT]}
