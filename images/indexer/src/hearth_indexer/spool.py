"""Values on disk instead of in memory, in the order in which they came, read as often as wanted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class Spool(Generic[Value]):
    """A file of one JSON value a line, in the folder for temporary files, without a name: it goes with the process.

    `encode` and `decode` turn a value into what JSON can hold, and back.
    """

    def __init__(self, encode: Callable[[Value], Any], decode: Callable[[Any], Value]) -> None:
        self._encode, self._decode = encode, decode
        self._file = tempfile.TemporaryFile("w", encoding="utf-8")  # noqa: SIM115 - `close` closes it
        self._count = 0

    def add(self, value: Value) -> None:
        """Puts it at the end."""
        json.dump(self._encode(value), self._file, separators=(",", ":"))
        self._file.write("\n")
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Value]:
        self._file.flush()
        # Opened anew, each reader has a place of its own in it (proc(5)).
        with Path(f"/proc/self/fd/{self._file.fileno()}").open(encoding="utf-8") as lines:
            for line in lines:
                yield self._decode(json.loads(line))

    def close(self) -> None:
        """Gives the room back."""
        self._file.close()
