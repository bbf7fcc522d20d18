"""Runs parts of the tests, three at a time, and says how far each is.

    python tests/support/run_parts.py TARGET ...

A part is a target of the Makefile. What it prints goes to .cache/test/TARGET.log, and is shown where the part failed.
All parts run, whatever becomes of the others; the exit status is 1 if one failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from shared_node import shared_node

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".cache" / "test"
AT_ONCE = 3
"""Tests of a cluster wait as often as they compute: three parts fill two cores."""
ON_THE_SHARED_NODE = ("test-e2e-serving", "test-e2e-training")
"""Two halves that do not mind each other. The other node tests kill, remove and count what a node has."""
SAY_EVERY = 60.0
"""Seconds. Without a terminal, this often a line says how far the parts are."""

PERCENT = re.compile(r"\[ *(\d+)%\]$")
OUTCOME = re.compile(r"^=+ (.*\b(?:passed|failed|error).*) =+$")


@dataclass
class Part:
    """One target, and how far it is."""

    target: str
    percent: int = 0
    began: float = 0.0
    ended: float = 0.0
    status: int = 0
    outcome: str = ""
    """What pytest says at its end."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What it is told beyond the environment of all."""

    @property
    def log(self) -> Path:
        """Everything it has printed."""
        return LOGS / f"{self.target}.log"

    @property
    def running(self) -> bool:
        return self.began > 0 and not self.ended

    def read(self, line: str) -> None:
        """Learns from a line that it printed."""
        if found := PERCENT.search(line):
            self.percent = int(found.group(1))
        if found := OUTCOME.match(line):
            self.outcome = found.group(1)

    def run(self, command: Sequence[str]) -> None:
        """Runs it to its end."""
        self.began = time.monotonic()
        verbose = {"PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} -v"}
        with (
            self.log.open("w") as log,
            subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=os.environ | verbose | self.environment,
            ) as process,
        ):
            for line in process.stdout or ():
                log.write(line)
                log.flush()
                self.read(line.rstrip())
        self.status = process.returncode
        self.ended = time.monotonic()

    def verdict(self) -> str:
        """One line about its end."""
        said = f": {self.outcome}" if self.outcome else f" ({self.ended - self.began:.0f} s)"
        return f"{'✗' if self.status else '✓'} {self.target}{said}"


def run(parts: Sequence[Part], commands: Sequence[Sequence[str]], console: Console) -> bool:
    """Runs them in this order, `AT_ONCE` of them at a time. Returns whether all went well."""
    LOGS.mkdir(parents=True, exist_ok=True)
    interrupted = threading.Event()

    def begin(part: Part, command: Sequence[str]) -> None:
        if not interrupted.is_set():
            part.run(command)
        if part.status:
            interrupted.wait(1)  # an interrupt ends the parts, and this thread hears of it before the main one

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = [pool.submit(begin, part, command) for part, command in zip(parts, commands, strict=True)]
        told = dict(zip(ends, parts, strict=True))
        try:
            (_draw if console.is_terminal else _say)(told, console)
        except KeyboardInterrupt:
            interrupted.set()
            pool.shutdown(wait=False, cancel_futures=True)  # those that run are interrupted by the terminal as well
            raise
    for end in ends:
        end.result()
    return not any(part.status for part in parts)


def _draw(told: dict[Future[None], Part], console: Console) -> None:
    """A bar for each part that has begun."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks = {p.target: bars.add_task(p.target, total=100, start=False, visible=False) for p in told.values()}
        waiting = set(told)
        while waiting:
            done, waiting = wait(waiting, timeout=0.5)
            for part in told.values():
                if part.began and not bars.tasks[tasks[part.target]].started:
                    bars.start_task(tasks[part.target])
                bars.update(tasks[part.target], completed=part.percent, visible=part.running)
            _tell((told[end] for end in done), bars.console)


def _say(told: dict[Future[None], Part], console: Console) -> None:
    """A line now and then."""
    began, waiting = time.monotonic(), set(told)
    said = began
    while waiting:
        done, waiting = wait(waiting, timeout=1)
        _tell((told[end] for end in done), console)
        if (now := time.monotonic()) - said >= SAY_EVERY:
            said = now
            parts = ", ".join(f"{p.target} {p.percent} %" for p in told.values() if p.running)
            console.print(f"… {(now - began) / 60:.0f} min: {parts}", highlight=False)


def _tell(ended: Iterable[Part], console: Console) -> None:
    """How parts have ended; of a failed one all that it printed."""
    for part in ended:
        if part.status:
            console.print(part.log.read_text(errors="replace"), markup=False, highlight=False, soft_wrap=True)
        console.print(part.verdict(), markup=False, highlight=False)


def main(targets: Sequence[str]) -> int:
    """Runs the targets; returns the exit status."""
    # What is installed for one part must not be taken away for the next while both run.
    make = ["make", "--no-print-directory", "--old-file=setup", "PREFLIGHT="]
    commands = [[*make, target] for target in targets]
    # On heaps as small as these, Kubernetes' programs spend a sixth of their time on collecting garbage.
    os.environ.setdefault("GOGC", "300")
    with shared_node() as shared:
        parts = [Part(t, environment=shared if t in ON_THE_SHARED_NODE else {}) for t in targets]
        return 0 if run(parts, commands, Console()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
