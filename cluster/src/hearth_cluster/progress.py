"""Progress of long steps: a live bar on a terminal, one line at the end of each step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

STILL_SECONDS = 15.0
"""Without a terminal, a step that counts its parts says this often how far it is."""

QUIET_SECONDS = 2.0
"""Without a terminal, a step is worth a line of its own only if it took longer than this."""


@dataclass
class Step:
    """One step under way; `advance` counts one of its parts as done."""

    on_advance: Callable[[], None] = lambda: None
    done: int = 0

    def advance(self) -> None:
        """Counts one more part as done."""
        self.done += 1
        self.on_advance()


@dataclass
class Progress:
    """Shows steps on `console`, which is stderr so that stdout stays fit for `eval` and pipes."""

    console: Console = field(default_factory=lambda: Console(stderr=True))

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Step]:
        """A step named `title`, of `total` parts where that is known. A step that raises is shown as failed."""
        if self.console.is_terminal:
            with self._bar(title, total) as step:
                yield step
            return
        started = time.monotonic()
        try:
            yield self._lines(title, total, started)
        except BaseException:
            self.console.print(f"✗ {title}", markup=False, highlight=False)
            raise
        elapsed = time.monotonic() - started
        if elapsed >= QUIET_SECONDS:
            self.console.print(f"✓ {title} ({elapsed:.0f} s)", markup=False, highlight=False)

    def _lines(self, title: str, total: int | None, started: float) -> Step:
        step = Step()
        said = started

        def say() -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= STILL_SECONDS:
                said = now
                parts = f"{step.done} of {total}" if total else str(step.done)
                self.console.print(f"… {title}: {parts}, {now - started:.0f} s", markup=False, highlight=False)

        step.on_advance = say
        return step

    @contextmanager
    def _bar(self, title: str, total: int | None) -> Iterator[Step]:
        columns = [SpinnerColumn(finished_text="✓"), TextColumn("{task.description}", markup=False), BarColumn()]
        if total:
            columns.append(MofNCompleteColumn())
        with Bars(*columns, TimeElapsedColumn(), console=self.console) as bars:
            task = bars.add_task(title, total=total or None)
            yield Step(on_advance=lambda: bars.advance(task))
            count = total or 1
            bars.update(task, total=count, completed=count)
