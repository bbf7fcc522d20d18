"""How long a request may take, and so how long a pod that stops has to finish the ones it has."""

from __future__ import annotations

from hearth.api.base import seconds
from hearth.api.llmservice import LLMServiceSpec

REQUEST_TIMEOUT = 600


def request_seconds(spec: LLMServiceSpec) -> int:
    """The longest that a request may take at the gateway."""
    written = spec.gateway.request_timeout if spec.gateway else None
    return seconds(written) if written else REQUEST_TIMEOUT


def drain_seconds(spec: LLMServiceSpec) -> int:
    """How long a stopping pod may take to finish its requests: as written; else long enough for every one.

    Not shorter for a shorter time limit: a pod ends with its last request, and engines need not roll for that.
    """
    written = spec.rollout.drain_deadline if spec.rollout else None
    return seconds(written) if written else max(REQUEST_TIMEOUT, request_seconds(spec))
