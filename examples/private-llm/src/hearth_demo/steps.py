"""Steps that say what they do, how far they are and how long they took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

POLL_SECONDS = 2.0


class StepError(Exception):
    """A step could not be finished; the message says what was found and what to do next."""


@dataclass
class Steps:
    """Numbers the steps of the demo and remembers their durations (seconds)."""

    console: Console
    total: int
    started: float = field(default_factory=time.monotonic)
    durations: list[tuple[str, float]] = field(default_factory=list)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Prints the step's title, and its duration when it is done."""
        number = len(self.durations) + 1
        self.console.print(f"\n[bold][{number}/{self.total}] {title}[/bold]")
        begun = time.monotonic()
        yield
        took = time.monotonic() - begun
        self.durations.append((title, took))
        self.console.print(
            f"      [green]done[/green] in {clock(took)}, {clock(time.monotonic() - self.started)} so far"
        )

    def wait(self, what: str, look: Callable[[], tuple[bool, str]], timeout_seconds: float) -> None:
        """Looks again every two seconds until `look` says it is done; its text is shown beside a spinner.

        Raises StepError after `timeout_seconds`, with the last thing seen.
        """
        begun = time.monotonic()
        seen = ""
        spinner = Spinner("dots", text=what)
        with Live(spinner, console=self.console, transient=True, refresh_per_second=4):
            while time.monotonic() - begun < timeout_seconds:
                done, seen = look()
                spinner.update(text=Text(f"{what}: {seen} ({clock(time.monotonic() - begun)})"))
                if done:
                    break
                time.sleep(POLL_SECONDS)
            else:
                raise StepError(f"{what}: not done after {clock(timeout_seconds)}. Last seen: {seen}")
        self.console.print(f"      {what}: {escape(seen)}")


def clock(seconds: float) -> str:
    """A duration as people read it: `42 s`, `3 min 05 s`."""
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
