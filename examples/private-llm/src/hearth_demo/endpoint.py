"""The endpoint, asked as any OpenAI client would."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import httpx

from hearth_demo.steps import StepError

PASSING = frozenset({429, 502, 503, 504})
"""Answers of a gateway that is busy or has just lost an engine: worth asking again."""
ATTEMPTS = 3
PAUSE_SECONDS = 3.0
TIMEOUT_SECONDS = 120.0


def chat(base_url: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """One chat completion; asked again where the endpoint is busy.

    Raises StepError with the endpoint's own words where it refuses, or stays busy.
    """
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            # trust_env: a proxy does not know the way to loopback.
            reply = httpx.post(f"{base_url}/v1/chat/completions", json=body, timeout=TIMEOUT_SECONDS, trust_env=False)
        except httpx.TransportError as error:
            said = f"{type(error).__name__} {error}".strip()
            continue
        if reply.is_success:
            answer: dict[str, Any] = reply.json()
            return answer
        said = f"{reply.status_code} {reply.text[:500]}"
        if reply.status_code not in PASSING:
            break
    raise StepError(f"the endpoint does not answer: {said}; see kubectl -n demo get llmservice and its events")
