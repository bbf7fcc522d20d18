"""Values on disk: in order, for several readers at once, and gone with the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hearth_indexer.spool import Spool


@pytest.fixture
def numbers() -> Spool[int]:
    return Spool(str, int)


def test_values_are_read_in_their_order_while_more_are_added(numbers: Spool[int]) -> None:
    numbers.add(1)
    numbers.add(2)
    assert list(numbers) == [1, 2]
    numbers.add(3)
    assert list(numbers) == [1, 2, 3]
    assert len(numbers) == 3


def test_readers_do_not_move_each_other(numbers: Spool[int]) -> None:
    for number in range(3):
        numbers.add(number)
    one, other = iter(numbers), iter(numbers)
    assert [next(one), next(one), next(other), next(one), next(other)] == [0, 1, 0, 2, 1]


def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    program = """
        import os, signal
        from hearth_indexer.spool import Spool
        spool = Spool(str, int)
        spool.add(1)
        assert list(spool) == [1]
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], env={"TMPDIR": str(tmp_path)}, check=False, timeout=60
    )
    assert ended.returncode == -9
    assert list(tmp_path.iterdir()) == []
