"""The one JSON document that a container leaves behind: at most 4096 bytes, the kubelet's limit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from hearth_trainer.errors import TrainerError

LIMIT = 4096
MESSAGE_BYTES, SUGGESTION_BYTES = 3000, 500
PATH_VARIABLE = "HEARTH_TERMINATION_LOG"
DEFAULT_PATH = "/dev/termination-log"


def write_result(result: dict[str, Any]) -> None:
    """Leaves a result. Where it is too long, it names fewer of the lines that were found; their counts stay."""
    findings: list[dict[str, Any]] = result.get("findings", [])
    lines = max((len(f["lines"]) for f in findings), default=0)
    while lines > 0 and len(_encoded({"result": result})) > LIMIT:
        lines -= 1
        result = {**result, "findings": [{**f, "lines": f["lines"][:lines]} for f in findings]}
    _write({"result": result})


def write_error(error: TrainerError) -> None:
    """Leaves an error; a message or suggestion too long for the limit is cut."""
    body: dict[str, Any] = {"class": error.kind, "message": cut(error.message, MESSAGE_BYTES)}
    if error.suggestion:
        body["suggestion"] = cut(error.suggestion, SUGGESTION_BYTES)
    _write({"error": body})


def cut(text: str, limit: int) -> str:
    """The beginning of a text that takes at most `limit` bytes as JSON, where a control character takes six."""
    whole = _encoded(text)
    if len(whole) <= limit + 2:  # its quotes
        return text
    kept, size = 0, len(_encoded("…"))
    for character in text:
        size += len(_encoded(character)) - 2
        if size > limit + 2:
            break
        kept += 1
    return f"{text[:kept]}…"


def _encoded(document: Any) -> bytes:
    # Not ASCII alone: a letter with an accent would take six bytes. Half of a surrogate pair has no encoding.
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _write(document: dict[str, Any]) -> None:
    told = _encoded(document)
    if len(told) > LIMIT:
        raise ValueError(f"a termination message of {len(told)} bytes; the limit is {LIMIT}")
    Path(os.environ.get(PATH_VARIABLE, DEFAULT_PATH)).write_bytes(told)
