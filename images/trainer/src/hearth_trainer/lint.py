"""Looks at every row before anything expensive is asked for, and counts what is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hearth_trainer.config import ChecksConfig, DatasetConfig
from hearth_trainer.errors import BadDataError
from hearth_trainer.rows import Row, RowError, detect, read_row
from hearth_trainer.tokens import Length

SHOWN = 5
"""Lines that a message names before it counts the rest."""


@dataclass
class Findings:
    """What was counted, by check, in the order of the rows."""

    places: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    def add(self, check: str, place: str, detail: str = "") -> None:
        """Counts one row; the detail of the first is kept."""
        self.places.setdefault(check, []).append(place)
        if detail:
            self.details.setdefault(check, detail)

    def count(self, check: str) -> int:
        """Rows concerned."""
        return len(self.places.get(check, ()))

    def as_json(self) -> list[dict[str, Any]]:
        """Counts and the first lines."""
        return [{"check": c, "count": len(p), "lines": p[:SHOWN]} for c, p in sorted(self.places.items())]


@dataclass(frozen=True)
class Dataset:
    """Rows that passed, and what was found."""

    layout: str
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    digest: str
    findings: Findings
    train_tokens: int
    longest_row: int
    longest_target: int


def records(paths: Iterable[Path], findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every JSON object of the files with its place; broken lines are counted."""
    for path in paths:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
        if path.suffix == ".json":
            yield from _array(path, text, findings)
            continue
        # Not splitlines(): it also splits at U+2028 and U+0085, which JSON strings may hold as they are.
        for number, line in enumerate(text.split("\n"), start=1):
            place = f"{path.name}:{number}"
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                findings.add("malformed", place, f"not JSON ({error.msg} at column {error.colno}): {line.strip()[:80]}")
                continue
            except RecursionError:
                findings.add("malformed", place, "nested too deeply")
                continue
            if isinstance(record, dict):
                yield place, record
            else:
                findings.add("malformed", place, f"expected a JSON object, found {line.strip()[:80]}")


def _array(path: Path, text: str, findings: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        findings.add("malformed", f"{path.name}:{error.lineno}", f"not JSON ({error.msg} at column {error.colno})")
        return
    except RecursionError:
        findings.add("malformed", f"{path.name}:1", "nested too deeply")
        return
    for number, item in enumerate(items if isinstance(items, list) else [items], start=1):
        place = f"{path.name}:{number}"
        if isinstance(item, dict):
            yield place, item
        else:
            findings.add("malformed", place, "expected a JSON object")


def read_rows(paths: Iterable[Path], layout: str | None, findings: Findings) -> tuple[str | None, list[Row]]:
    """The rows of the files; the format is the given one, or that of the first record."""
    rows: list[Row] = []
    for place, record in records(paths, findings):
        try:
            layout = layout or detect(record)
            rows.append(read_row(record, layout, place))
        except RowError as error:
            findings.add("missingField", place, str(error))
    return layout, rows


def is_held_out(row: Row, fraction: float) -> bool:
    """Whether a row belongs to the held-out split: by its prompt's hash, so rows may be added or moved freely."""
    return int(row.prompt_key()[:8], 16) / 2**32 < fraction


def split(rows: list[Row], fraction: float) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows. Of two or more rows at least one is held out; equal prompts stay together."""
    held_out = [r for r in rows if is_held_out(r, fraction)]
    keys = {r.prompt_key() for r in rows}
    if not held_out and len(keys) > 1:
        lowest = min(keys)
        held_out = [r for r in rows if r.prompt_key() == lowest]
    chosen = {id(r) for r in held_out}
    return [r for r in rows if id(r) not in chosen], held_out


def digest_of(rows: Iterable[Row], held_out: Iterable[Row]) -> str:
    """Identity of the rows in their order."""
    whole = hashlib.sha256()
    for part in (rows, held_out):
        for row in part:
            whole.update(row.key().encode())
        whole.update(b"\n")
    return f"sha256:{whole.hexdigest()}"


def lint(
    config: DatasetConfig,
    train_files: list[Path],
    eval_files: list[Path] | None,
    measure: Callable[[Row], Length],
    context: int,
) -> Dataset:
    """The rows to train and to measure on.

    Raises BadDataError with counts and the first offending lines where they cannot be used.
    """
    findings = Findings()
    layout, rows = read_rows(train_files, config.format, findings)
    refuse_broken(findings, config.train.source, layout, rows)
    if eval_files is None:
        train, held_out = split(rows, config.eval_fraction)
    else:
        _, held_out = read_rows(eval_files, layout, findings)
        refuse_broken(findings, config.eval.source if config.eval else "", layout, held_out)
        train = rows
    _find_doubles(train, findings)
    _find_leakage(train, held_out, findings)
    kept, lengths = _fitting(train, measure, context, findings)
    kept_out, out_lengths = _fitting(held_out, measure, context, findings)
    refuse_doubtful(findings, config.checks, len(train) + len(held_out), context)
    if not kept:
        raise BadDataError("NoRows", f"{config.train.source}: no row is left to learn from")
    every = lengths + out_lengths
    return Dataset(
        layout=layout or "Text",
        train=tuple(kept),
        held_out=tuple(kept_out),
        digest=digest_of(kept, kept_out),
        findings=findings,
        train_tokens=sum(x.total for x in lengths),
        longest_row=max(x.total for x in every),
        longest_target=max(x.target for x in every),
    )


def _find_doubles(rows: Iterable[Row], findings: Findings) -> None:
    seen: set[str] = set()
    for row in rows:
        if row.key() in seen:
            findings.add("duplicates", row.place)
        seen.add(row.key())


def _find_leakage(train: Iterable[Row], held_out: Iterable[Row], findings: Findings) -> None:
    known = {row.prompt_key(): row.place for row in train}
    for row in held_out:
        if row.prompt_key() in known:
            findings.add("leakage", row.place, f"its prompt is also {known[row.prompt_key()]}")


def _fitting(
    rows: Iterable[Row], measure: Callable[[Row], Length], context: int, findings: Findings
) -> tuple[list[Row], list[Length]]:
    kept: list[Row] = []
    lengths: list[Length] = []
    for row in rows:
        if not row.target.strip():
            findings.add("emptyTargets", row.place)
            continue
        length = measure(row)
        if length.total > context:
            findings.add("tooLong", row.place, f"{length.total} tokens")
            continue
        kept.append(row)
        lengths.append(length)
    return kept, lengths


def _told(findings: Findings, check: str) -> str:
    places = findings.places[check]
    shown = ", ".join(places[:SHOWN])
    rest = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    detail = findings.details.get(check)
    return f"{shown}{rest}" + (f" (the first: {detail})" if detail else "")


def refuse_broken(findings: Findings, source: str, layout: str | None, rows: list[Row]) -> None:
    """Raises BadDataError for lines that are no JSON, rows without their fields, or no rows at all."""
    broken = findings.count("malformed")
    missing = findings.count("missingField")
    if broken:
        raise BadDataError(
            "MalformedRow",
            f"{source}: {broken} of {broken + missing + len(rows)} lines are broken: {_told(findings, 'malformed')}",
            "write one JSON object per line",
        )
    if missing:
        raise BadDataError(
            "MissingField",
            f"{source}: {missing} of {missing + len(rows)} rows do not fit the format {layout or 'sought'}: "
            f"{_told(findings, 'missingField')}",
            "add the field, or set spec.dataset.format",
        )
    if not rows:
        raise BadDataError("EmptyDataset", f"{source} holds no rows", "write one JSON object per line")


def refuse_doubtful(findings: Findings, checks: ChecksConfig, total: int, context: int) -> None:
    """Raises BadDataError for doubtful rows that the checks do not let pass."""
    if findings.count("leakage") and checks.leakage == "Fail":
        raise BadDataError(
            "Leakage",
            f"{findings.count('leakage')} held-out prompts are in the training rows too: {_told(findings, 'leakage')}",
            "remove them from one of the two, or set spec.dataset.checks.leakage: Warn",
        )
    if findings.count("emptyTargets") and checks.empty_targets == "Fail":
        raise BadDataError(
            "EmptyTargets",
            f"{findings.count('emptyTargets')} rows have nothing to learn: {_told(findings, 'emptyTargets')}",
            "remove them, or set spec.dataset.checks.emptyTargets: Warn to leave them out",
        )
    long = findings.count("tooLong")
    if long * 100 > checks.max_truncated_percent * total:
        raise BadDataError(
            "RowsTooLong",
            f"{long} of {total} rows are longer than {context} tokens, more than the "
            f"{checks.max_truncated_percent} percent allowed: {_told(findings, 'tooLong')}",
            "shorten them, raise spec.training.maxSequenceLength, or raise spec.dataset.checks.maxTruncatedPercent",
        )
