"""A run that is asked to stop says so and ends, whatever its threads wait for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

STUCK = """
import time
from hearth_indexer import __main__
from hearth_indexer.corpus import Reading, cut
from hearth_indexer.documents import Document, Section
from hearth_indexer.settings import Chunking

class Stuck:
    exact, limit = True, None
    def count(self, text):
        print("counting", flush=True)
        time.sleep(60)

def counting(asked, progress):
    reading = Reading()
    reading.take([Document("u", "t", (Section((), "words"),))])
    cut(reading, Chunking(), Stuck())

__main__.read = lambda path: None
__main__.run = counting
__main__.leave(__main__.main())
"""
"""Counts with an embedder that does not answer."""


def test_a_run_whose_embedder_does_not_answer_stops_when_it_is_asked_to(tmp_path: Path) -> None:
    told = tmp_path / "termination-log"
    environment = os.environ | {"HEARTH_TERMINATION_LOG": str(told)}
    with subprocess.Popen([sys.executable, "-c", STUCK], env=environment, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"counting\n"
        running.send_signal(signal.SIGTERM)
        try:
            code = running.wait(10)
        finally:
            running.kill()

    assert code == 75
    assert json.loads(told.read_text())["error"]["class"] == "Interrupted"
