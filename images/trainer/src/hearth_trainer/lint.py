"""Looks at every row before anything expensive is asked for, and counts what is wrong.

Rows are read twice and never held: first for what is broken and how they are split, then for everything else. What is
kept of each is a digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hearth_trainer.config import ChecksConfig, DatasetConfig
from hearth_trainer.errors import BadDataError
from hearth_trainer.findings import Findings
from hearth_trainer.records import records
from hearth_trainer.rows import Row, RowError, detect, read_row
from hearth_trainer.split import Split
from hearth_trainer.tokens import Length

Take = Callable[[Row, bool], None]
"""Is given every row that is used, in order, and whether it is held out."""


@dataclass(frozen=True)
class Summary:
    """What was found."""

    layout: str
    digest: str
    """Identity of the rows that are used, in their order."""
    findings: Findings
    train_rows: int
    eval_rows: int
    train_tokens: int
    longest_row: int
    longest_target: int


def layout_of(paths: Sequence[Path]) -> str | None:
    """The format of the first record that has one."""
    for _, record in records(paths, Findings()):
        with suppress(RowError):
            return detect(record)
    return None


def read_rows(paths: Sequence[Path], layout: str | None, findings: Findings) -> Iterator[Row]:
    """The rows of the files in the given format; others are counted."""
    for place, record in records(paths, findings):
        try:
            row = read_row(record, layout or detect(record), place)
        except RowError as error:
            findings.add("missingField", place, str(error))
        else:
            yield row


class Tally:
    """Adds rows up, leaves out those that cannot be used, and passes the others on."""

    def __init__(self, measure: Callable[[Row], Length], context: int, findings: Findings, take: Take) -> None:
        self.measure, self.context, self.findings, self.take = measure, context, findings, take
        self.train_rows = self.eval_rows = self.train_tokens = self.longest_row = self.longest_target = 0
        self._learnt = hashlib.sha256()
        self._held_out: list[bytes] = []

    def add(self, row: Row, held_out: bool) -> None:
        """Looks at one row."""
        if not row.target.strip():
            self.findings.add("emptyTargets", row.place)
            return
        length = self.measure(row)
        if length.total > self.context:
            self.findings.add("tooLong", row.place, f"{length.total} tokens")
            return
        self.longest_row = max(self.longest_row, length.total)
        self.longest_target = max(self.longest_target, length.target)
        if held_out:
            self.eval_rows += 1
            self._held_out.append(bytes.fromhex(row.key()))
        else:
            self.train_rows += 1
            self.train_tokens += length.total
            self._learnt.update(row.key().encode())
        self.take(row, held_out)

    def digest(self) -> str:
        """Identity of the rows in their order."""
        whole = self._learnt.copy()
        whole.update(b"\n")
        for key in self._held_out:
            whole.update(key.hex().encode())
        whole.update(b"\n")
        return f"sha256:{whole.hexdigest()}"


def lint(
    config: DatasetConfig,
    train_files: Sequence[Path],
    eval_files: Sequence[Path] | None,
    measure: Callable[[Row], Length],
    context: int,
    take: Take,
) -> Summary:
    """What is found in the rows to train and to measure on, each of which `take` is given.

    Raises BadDataError with counts and the first offending lines where they cannot be used; `take` may have been given
    rows by then.
    """
    findings, split = Findings(), Split(config.eval_fraction)
    layout = config.format or layout_of(train_files)
    total = _survey(train_files, layout, config.train.source, split, findings)
    if eval_files is not None:
        total += _survey(eval_files, layout, config.eval.source if config.eval else "", None, findings)
    tally, seen = Tally(measure, context, findings, take), Seen(findings)
    for row in read_rows(train_files, layout, findings):
        held_out = eval_files is None and split.holds_out(row.prompt_key())
        if not held_out:
            seen.learn(row)
        tally.add(row, held_out)
    for row in read_rows(eval_files or (), layout, findings):
        seen.ask(row, lambda: read_rows(train_files, layout, Findings()))
        tally.add(row, held_out=True)
    refuse_doubtful(findings, config.checks, total, context)
    if not tally.train_rows:
        raise BadDataError("NoRows", f"{config.train.source}: no row is left to learn from")
    return Summary(
        layout=layout or "Text",
        digest=tally.digest(),
        findings=findings,
        train_rows=tally.train_rows,
        eval_rows=tally.eval_rows,
        train_tokens=tally.train_tokens,
        longest_row=tally.longest_row,
        longest_target=tally.longest_target,
    )


def _survey(paths: Sequence[Path], layout: str | None, source: str, split: Split | None, findings: Findings) -> int:
    """How many rows there are. Raises BadDataError where any is broken."""
    count = 0
    for row in read_rows(paths, layout, findings):
        count += 1
        if split is not None:
            split.see(row.prompt_key())
    refuse_broken(findings, source, layout, count)
    return count


class Seen:
    """Recognises rows, and prompts, that were there before."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._rows: set[bytes] = set()
        self._prompts: set[bytes] = set()

    def learn(self, row: Row) -> None:
        """Counts a row to train on that is there twice."""
        key = _short(row.key())
        if key in self._rows:
            self.findings.add("duplicates", row.place)
        self._rows.add(key)
        self._prompts.add(_short(row.prompt_key()))

    def ask(self, row: Row, learnt: Callable[[], Iterator[Row]]) -> None:
        """Counts a held-out row whose prompt is learnt too; `learnt` reads those rows again, to say where."""
        key = row.prompt_key()
        if _short(key) not in self._prompts:
            return
        first = not self.findings.count("leakage")
        where = next((r.place for r in learnt() if r.prompt_key() == key), None) if first else None
        self.findings.add("leakage", row.place, f"its prompt is also {where}" if where else "")


def _short(key: str) -> bytes:
    # Half of a sha256 is still told apart, and a data set of millions of rows has as many of these.
    return bytes.fromhex(key[:32])


def refuse_broken(findings: Findings, source: str, layout: str | None, rows: int) -> None:
    """Raises BadDataError for lines that are no JSON, rows without their fields, or no rows at all."""
    broken = findings.count("malformed")
    missing = findings.count("missingField")
    if broken:
        raise BadDataError(
            "MalformedRow",
            f"{source}: {broken} of {broken + missing + rows} lines are broken: {findings.told('malformed')}",
            "write one JSON object per line, in UTF-8",
        )
    if missing:
        raise BadDataError(
            "MissingField",
            f"{source}: {missing} of {missing + rows} rows do not fit the format {layout or 'sought'}: "
            f"{findings.told('missingField')}",
            "add the field, or set spec.dataset.format",
        )
    if not rows:
        raise BadDataError("EmptyDataset", f"{source} holds no rows", "write one JSON object per line")


def refuse_doubtful(findings: Findings, checks: ChecksConfig, total: int, context: int) -> None:
    """Raises BadDataError for doubtful rows that the checks do not let pass."""
    if findings.count("leakage") and checks.leakage == "Fail":
        raise BadDataError(
            "Leakage",
            f"{findings.count('leakage')} held-out prompts are in the training rows too: {findings.told('leakage')}",
            "remove them from one of the two, or set spec.dataset.checks.leakage: Warn",
        )
    if findings.count("emptyTargets") and checks.empty_targets == "Fail":
        raise BadDataError(
            "EmptyTargets",
            f"{findings.count('emptyTargets')} rows have nothing to learn: {findings.told('emptyTargets')}",
            "remove them, or set spec.dataset.checks.emptyTargets: Warn to leave them out",
        )
    long = findings.count("tooLong")
    if long * 100 > checks.max_truncated_percent * total:
        raise BadDataError(
            "RowsTooLong",
            f"{long} of {total} rows are longer than {context} tokens, more than the "
            f"{checks.max_truncated_percent} percent allowed: {findings.told('tooLong')}",
            "shorten them, raise spec.training.maxSequenceLength, or raise spec.dataset.checks.maxTruncatedPercent",
        )
