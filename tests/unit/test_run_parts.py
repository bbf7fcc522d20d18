"""The parts of `make test`: all are run, and what one printed is shown where it failed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_parts
from rich.console import Console
from run_parts import Part

GOOD = "echo 'tests/a.py::test_one PASSED [ 40%]'; echo '=== 5 passed in 1.20s ==='"
BAD = "echo 'tests/b.py::test_two FAILED [100%]'; echo 'E   assert 1 == 2'; echo '== 1 failed in 0.10s =='; exit 2"


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run_parts, "LOGS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("terminal", [True, False])
def test_every_part_is_run_and_a_failed_one_shows_what_it_printed(terminal: bool, logs: Path) -> None:
    parts = [Part("bad"), Part("good"), Part("last")]
    shown = io.StringIO()
    commands = [["sh", "-c", script] for script in (BAD, GOOD, GOOD)]
    went_well = run_parts.run(parts, commands, Console(file=shown, force_terminal=terminal, width=120))
    assert not went_well
    assert [part.status for part in parts] == [2, 0, 0]
    assert [part.percent for part in parts] == [100, 40, 40]
    assert "E   assert 1 == 2" in shown.getvalue()
    assert "test_one" not in shown.getvalue()
    assert [part.verdict() for part in parts[:2]] == ["✗ bad: 1 failed in 0.10s", "✓ good: 5 passed in 1.20s"]
    assert "test_one" in (logs / "good.log").read_text()


def test_a_part_without_tests_is_told_with_its_time() -> None:
    part = Part("lint")
    assert run_parts.run([part], [["true"]], Console(file=io.StringIO()))
    assert part.verdict().startswith("✓ lint (0 s)")


def test_a_part_is_told_of_the_node_that_it_shares(logs: Path) -> None:
    parts = [Part("alone"), Part("shared", environment={"HEARTH_CLUSTER": "test-1"})]
    assert run_parts.run(parts, [["sh", "-c", "echo on ${HEARTH_CLUSTER:-its own}"]] * 2, Console(file=io.StringIO()))
    assert (logs / "alone.log").read_text() == "on its own\n"
    assert (logs / "shared.log").read_text() == "on test-1\n"


@pytest.mark.parametrize("part", ["echo began; exec sleep 30", "trap 'exit 2' INT; echo began; sleep 30"])
def test_an_interrupt_begins_no_further_part(logs: Path, part: str) -> None:
    program = f"""
import signal
from pathlib import Path
import run_parts
from rich.console import Console
signal.signal(signal.SIGINT, signal.default_int_handler)
run_parts.LOGS = Path({str(logs)!r})
parts = [run_parts.Part(str(number)) for number in range(run_parts.AT_ONCE + 1)]
run_parts.run(parts, [["sh", "-c", {part!r}]] * len(parts), Console())
"""
    logged = [logs / f"{number}.log" for number in range(run_parts.AT_ONCE)]
    runner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(run_parts.__file__).parent, start_new_session=True
    )
    while not all(log.exists() and log.read_text() for log in logged) and runner.poll() is None:
        time.sleep(0.05)
    os.killpg(runner.pid, signal.SIGINT)
    assert runner.wait(20) != 0
    assert not (logs / f"{run_parts.AT_ONCE}.log").exists()
