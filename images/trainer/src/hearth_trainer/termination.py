"""The one JSON document that a container leaves behind: at most 4096 bytes, the kubelet's limit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hearth_trainer.errors import TrainerError

LIMIT = 4096
PATH_VARIABLE = "HEARTH_TERMINATION_LOG"
DEFAULT_PATH = "/dev/termination-log"


def write_result(result: dict[str, Any]) -> None:
    """Leaves a result."""
    _write({"result": result})


def write_error(error: TrainerError) -> None:
    """Leaves an error; a message too long for the limit is cut."""
    body: dict[str, Any] = {"class": error.kind, "message": error.message[:3000]}
    if error.suggestion:
        body["suggestion"] = error.suggestion[:500]
    _write({"error": body})


def _write(document: dict[str, Any]) -> None:
    text = json.dumps(document, separators=(",", ":"))
    if len(text.encode()) > LIMIT:
        raise ValueError(f"a termination message of {len(text.encode())} bytes; the limit is {LIMIT}")
    Path(os.environ.get(PATH_VARIABLE, DEFAULT_PATH)).write_text(text, encoding="utf-8")
