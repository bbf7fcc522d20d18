"""One JSON object per line, with the key of the resource that the line is about."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from hearth.plan.world import ObjectKey


class JsonFormatter(logging.Formatter):
    """Formats a record as JSON. `extra={"object": ObjectKey(...)}` becomes kind, namespace and name."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        key = getattr(record, "object", None)
        if isinstance(key, ObjectKey):
            line["object"] = {"kind": key.kind, "namespace": key.namespace, "name": key.name}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """For terminals: time, level, key, message."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, or more where there is an exception."""
        key = getattr(record, "object", None)
        about = f"{key.kind} {key.namespace}/{key.name}: " if isinstance(key, ObjectKey) else ""
        stamp = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        text = f"{stamp} {record.levelname:<7} {about}{record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def set_up(level: str, as_json: bool, stream: TextIO | None = None) -> None:
    """Replaces the root logger's handlers. kopf is kept at warnings: its lines repeat ours, or show whole bodies."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("kopf", "aiohttp.access", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
