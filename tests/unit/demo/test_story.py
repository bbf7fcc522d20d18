"""What the demo says while it waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hearth_demo.kubectl import Kubectl
from hearth_demo.story import trained


def stand_in(folder: Path, status: dict[str, Any]) -> Kubectl:
    """A kubectl that gives out one object."""
    program = folder / "kubectl"
    program.write_text(
        f"#!/bin/sh\ncat <<'END'\n{json.dumps({'metadata': {'generation': 1}, 'status': status})}\nEND\n"
    )
    program.chmod(0o755)
    return Kubectl(program, folder / "kubeconfig", "demo")


def ready(status: str, reason: str, message: str) -> list[dict[str, Any]]:
    return [{"type": "Ready", "status": status, "reason": reason, "message": message, "observedGeneration": 1}]


PROGRESS = {"step": 3, "totalSteps": 28, "loss": "0.5120", "tokensPerSecond": "171.0", "eta": "2m"}


@pytest.mark.parametrize(
    ("status", "seen"),
    [
        ({}, (False, "NotReported")),
        ({"conditions": ready("False", "Preparing", "rows are checked")}, (False, "Preparing rows are checked")),
        (
            {"conditions": ready("False", "Training", "step 3"), "progress": PROGRESS},
            (False, "step 3/28, loss 0.5120, 171.0 tokens/s, 2m left"),
        ),
        (
            {"conditions": ready("True", "Succeeded", "28 steps"), "progress": PROGRESS | {"step": 28}},
            (True, "Succeeded 28 steps"),
        ),
    ],
    ids=["applied", "preparing", "training", "done"],
)
def test_training_is_told_by_its_steps_until_it_is_done(
    tmp_path: Path, status: dict[str, Any], seen: tuple[bool, str]
) -> None:
    assert trained(stand_in(tmp_path, status))() == seen
