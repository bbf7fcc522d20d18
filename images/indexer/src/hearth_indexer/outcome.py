"""How a run ends: exit codes, and the JSON in the termination message that the operator reads.

The codes follow BSD's sysexits.h where it has one. The kubelet keeps the first 4096 bytes of the message.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

MESSAGE_LIMIT = 4096


class IndexingError(Exception):
    """A run that cannot go on. `message` says what was found and expected, `suggestion` what to do next."""

    exit_code: ClassVar[int]
    failure_class: ClassVar[str]

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion

    def as_json(self) -> dict[str, Any]:
        """The `error` object of the termination message."""
        found = {"class": self.failure_class, "message": self.message}
        return found | ({"suggestion": self.suggestion} if self.suggestion else {})


class BadConfigurationError(IndexingError):
    """The configuration cannot work: trying again changes nothing."""

    exit_code = 64
    failure_class = "BadConfiguration"


class NotSupportedError(IndexingError):
    """The specification asks for more than the engine can."""

    exit_code = 64
    failure_class = "NotSupported"


class BadDataError(IndexingError):
    """The documents cannot be indexed."""

    exit_code = 65
    failure_class = "BadData"


class UnavailableError(IndexingError):
    """Something this run needs does not answer: trying again may help."""

    exit_code = 69
    failure_class = "Unavailable"


class DiskFullError(IndexingError):
    """The engine refuses writes because its volume is full."""

    exit_code = 73
    failure_class = "DiskFull"


class InterruptedRunError(IndexingError):
    """Asked to stop. What was written so far is found again by the next run."""

    exit_code = 75
    failure_class = "Interrupted"


def write(path: Path, outcome: dict[str, Any]) -> None:
    """Writes `{"result": …}` or `{"error": …}` so that it fits; lists of details are cut first, then the message."""
    told = _encoded(outcome)
    while len(told) > MESSAGE_LIMIT and _shorten(outcome):
        told = _encoded(outcome)
    path.write_bytes(told)


def _encoded(outcome: dict[str, Any]) -> bytes:
    # A file's name may hold what no encoding has: bytes that are not UTF-8 come as halves of surrogate pairs.
    return json.dumps(outcome, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _shorten(outcome: dict[str, Any]) -> bool:
    """Halves the longest thing that may be cut; False where nothing is left to cut."""
    details: list[Any] = outcome.get("result", {}).get("skipped", [])
    if details:
        del details[len(details) // 2 :]
        return True
    error = outcome.get("error", {})
    longest = max(("message", "suggestion"), key=lambda key: len(error.get(key, "")))
    if len(error.get(longest, "")) < 100:
        return False
    error[longest] = error[longest][: len(error[longest]) // 2] + "…"
    return True
