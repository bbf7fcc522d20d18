"""When to ask again, and how long to wait before."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hearth.kube.errors import ApiError

RETRIED = frozenset({429, 500, 502, 503, 504})
"""Answers that say nothing about the request itself."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff And Jitter", AWS 2015). Seconds."""

    first: float
    cap: float

    def delay(self, failures: int, rng: random.Random) -> float:
        """A delay after the given number of failures in a row, which is at least 1."""
        return rng.uniform(0.0, self.ceiling(failures))

    def ceiling(self, failures: int) -> float:
        """The longest delay after that many failures."""
        # 2**60 is far beyond any cap; the bound keeps the power from growing without end.
        return min(self.cap, self.first * 2.0 ** min(failures - 1, 60))


REQUESTS = Backoff(first=0.2, cap=10.0)
TRIES = 6


def wait_before_retry(error: ApiError, failures: int, rng: random.Random) -> float | None:
    """Seconds to wait before sending the request again, or None if that is no use."""
    if error.code not in RETRIED or failures >= TRIES:
        return None
    delay = REQUESTS.delay(failures, rng)
    return max(delay, error.retry_after) if error.retry_after is not None else delay
