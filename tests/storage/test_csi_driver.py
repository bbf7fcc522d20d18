"""The storage driver alone, without a cluster: the CSI project's conformance suite and the driver's own tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="loop devices and mounts need root"),
    pytest.mark.skipif(shutil.which("mkfs.xfs") is None, reason="xfsprogs is not installed"),
]

DRIVER = Path(__file__).parents[2] / "cluster" / "csi"
ENDS = {"pass", "fail", "skip"}
SANITY = "TestTheDriverPassesTheSanitySuite"


@pytest.fixture(scope="module")
def outcome() -> Mapping[str, str]:
    """What became of each Go test: pass or skip by name; for those that failed, what they printed."""
    command = ["go", "test", "-count=1", "-json", "./..."]
    done = subprocess.run(command, cwd=DRIVER, capture_output=True, text=True, timeout=900, check=False)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    ends = {event["Test"]: event["Action"] for event in events if "Test" in event and event["Action"] in ENDS}
    assert ends, f"no test ran:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    for name in [name for name, end in ends.items() if end == "fail"]:
        ends[name] = "".join(event.get("Output", "") for event in events if event.get("Test") == name)[-6000:]
    return ends


def test_the_driver_passes_the_sanity_suite_of_csi_test(outcome: Mapping[str, str]) -> None:
    assert outcome[SANITY] == "pass", outcome[SANITY]


def test_the_driver_keeps_data_through_crashes_growth_and_foreign_content(outcome: Mapping[str, str]) -> None:
    others = {name: end for name, end in outcome.items() if name != SANITY}
    assert others
    assert {name: end for name, end in others.items() if end != "pass"} == {}
