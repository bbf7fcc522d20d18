"""Long steps are seen, short ones are not, and output that nobody watches stays short."""

from __future__ import annotations

import io

import pytest
from hearth_cluster import progress
from hearth_cluster.progress import Progress
from rich.console import Console


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def shown(written: io.StringIO) -> Progress:
    return Progress(Console(file=written, force_terminal=False, width=100))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_short_step_says_nothing(shown: Progress, written: io.StringIO, clock: list[float]) -> None:
    with shown.step("copying"):
        clock[0] += 1
    assert written.getvalue() == ""


def test_a_long_step_says_how_long_it_took(shown: Progress, written: io.StringIO, clock: list[float]) -> None:
    with shown.step("copying"):
        clock[0] += 7
    assert written.getvalue() == "✓ copying (7 s)\n"


def test_a_very_long_step_says_how_far_it_is(shown: Progress, written: io.StringIO, clock: list[float]) -> None:
    with shown.step("building", total=40) as step:
        for _ in range(40):
            clock[0] += 1
            step.advance()
    lines = written.getvalue().splitlines()
    assert lines == ["… building: 15 of 40, 15 s", "… building: 30 of 40, 30 s", "✓ building (40 s)"]


def test_a_failed_step_is_shown_as_failed(shown: Progress, written: io.StringIO) -> None:
    with pytest.raises(ValueError, match="no"), shown.step("copying [a]"):
        raise ValueError("no")
    assert written.getvalue() == "✗ copying [a]\n"


def test_a_bar_on_a_terminal_ends_full(written: io.StringIO) -> None:
    with Progress(Console(file=written, force_terminal=True, width=100)).step("building", total=3) as step:
        step.advance()
    assert "3/3" in written.getvalue()
