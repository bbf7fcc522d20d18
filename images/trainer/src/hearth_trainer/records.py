"""Reads JSON Lines one line at a time, and JSON arrays one element at a time: the check must fit beside any file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hearth_trainer.findings import Findings

NEWLINE = b"\n"
SPACE = re.compile(r"[ \t\n\r]*")
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def records(paths: Iterable[Path], findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object of the files with its place; broken lines are counted."""
    for path in paths:
        found = _array(path, findings) if path.suffix == ".json" else _lines(path, findings)
        for place, record in found:
            if not isinstance(record, dict):
                findings.add("malformed", place, f"expected a JSON object, found {json.dumps(record)[:80]}")
            elif not _has_encoding(record):
                findings.add(
                    "malformed", place, "holds half of a surrogate pair (\\ud800 to \\udfff), which is no text"
                )
            else:
                yield place, record


def _lines(path: Path, findings: Findings) -> Iterator[tuple[str, Any]]:
    # By bytes: only a newline ends a row. Text would also be split at U+2028 and U+0085, which JSON strings may hold.
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
            place = f"{path.name}:{number}"
            if not raw.strip():
                continue
            try:
                yield place, json.loads(raw.decode())
            except UnicodeDecodeError as error:
                findings.add("malformed", place, _not_utf8(path, error, error.start + 1))
            except json.JSONDecodeError as error:
                told = f"not JSON ({error.msg} at column {error.colno}): {raw.decode().strip()[:80]}"
                findings.add("malformed", place, told)
            except (RecursionError, ValueError) as error:
                findings.add("malformed", place, _unreadable(error))


def _array(path: Path, findings: Findings) -> Iterator[tuple[str, Any]]:
    raw = path.read_bytes().removeprefix(codecs.BOM_UTF8)
    number = 0
    try:
        text = raw.decode()
        del raw  # as large as the text
        for number, item in enumerate(elements(text), start=1):
            yield f"{path.name}:{number}", item
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        place = f"{path.name}:{before.count(NEWLINE) + 1}"
        findings.add("malformed", place, _not_utf8(path, error, error.start - before.rfind(NEWLINE)))
    except json.JSONDecodeError as error:
        told = f"not JSON ({error.msg} at column {error.colno})"
        findings.add("malformed", f"{path.name}:{error.lineno}", told)
    except (RecursionError, ValueError) as error:
        findings.add("malformed", f"{path.name}:{number + 1}", _unreadable(error))


def elements(text: str) -> Iterator[Any]:
    """The elements of a JSON array one by one; any other document as it is.

    Raises JSONDecodeError at the first element that is broken, after those before it.
    """
    decode = json.JSONDecoder().raw_decode
    at = _after_space(text, 0)
    if not text.startswith("[", at):
        yield json.loads(text)
        return
    at = _after_space(text, at + 1)
    more = not text.startswith("]", at)
    while more:
        item, at = decode(text, at)
        yield item
        at = _after_space(text, at)
        more = text.startswith(",", at)
        if more:
            at = _after_space(text, at + 1)
    if not text.startswith("]", at):
        raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    at = _after_space(text, at + 1)
    if at != len(text):
        raise json.JSONDecodeError("Extra data", text, at)


def _after_space(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    return found.end() if found else at


def _has_encoding(record: dict[str, Any]) -> bool:
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_utf8(path: Path, error: UnicodeDecodeError, column: int) -> str:
    written_in = "UTF-16" if error.object.startswith(UTF16) else "ISO-8859-1"
    return (
        f"not UTF-8 (byte 0x{error.object[error.start]:02x} at column {column}); rows must be in UTF-8, so convert the "
        f"file: iconv -f {written_in} -t UTF-8 {path.name}, with the encoding that it was written in after -f"
    )


def _unreadable(error: Exception) -> str:
    # The only other thing that json refuses: an integer of more digits than Python converts.
    return "nested too deeply" if isinstance(error, RecursionError) else f"not readable: {error}"
