"""Asks again when a server is busy, restarting or out of reach."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import httpx

from hearth_indexer.outcome import UnavailableError

log = logging.getLogger(__name__)

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP status codes that may pass."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
DOUBLINGS = 6
"""After so many a pause is the longest."""


def answered(
    send: Callable[[], httpx.Response],
    what: str,
    patience: float = 600.0,
    sleep: Callable[[float], None] = time.sleep,
) -> httpx.Response:
    """The first response that is no passing failure; it may still be an error that will not pass.

    Pauses double from half a second to half a minute with jitter, or last as long as `Retry-After` says, at least half
    a second; after `patience` seconds of pauses it gives up.

    Raises UnavailableError with the last thing that was wrong, and at once where the request cannot be sent at all.
    """
    paused = 0.0
    attempt = 0
    while True:
        asked: float | None = None
        try:
            response = send()
            if response.status_code not in RETRIED:
                return response
            wrong = f"HTTP {response.status_code} {response.reason_phrase}"
            asked = retry_after(response)
        except httpx.LocalProtocolError as error:
            # This side refuses to send the request, and says so by quoting it: its headers may hold a secret.
            raise UnavailableError(f"{what} cannot be asked: {type(error).__name__}") from None
        except httpx.TransportError as error:
            wrong = str(error) or type(error).__name__
        if paused >= patience:
            raise UnavailableError(f"{what} does not answer: {wrong}, for {patience:.0f} s")
        ceiling = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt, DOUBLINGS))
        pause = max(asked, FIRST_PAUSE) if asked is not None else random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter
        log.warning("%s: %s; asking again in %.1f s", what, wrong, pause)
        sleep(pause)
        paused += pause
        attempt += 1


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that the server asks for, at most the longest pause. A date is not understood: None."""
    value = response.headers.get("retry-after", "")
    return min(float(value), LONGEST_PAUSE) if value.isdecimal() else None
