"""Which change of the spec makes a failed job try again, and what its status says of that."""

from __future__ import annotations

import json
from typing import Any

import pytest

TRIES_AGAIN = "a change of budget.retries or podOverrides tries again from the newest checkpoint"


def resumes(law: Any) -> None:
    """Another pod takes over, and nothing tells of the failure any more."""
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Restarting"
    law.pods = []
    law.reconcile()
    assert "status" not in law.job("train"), "a new Job"
    assert "completionTime" not in law.status
    assert "failure" not in law.status


def test_after_an_out_of_memory_more_memory_resumes_the_job(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=137, reason="OOMKilled")
    law.pass_time(11)
    law.reconcile()
    law.pods = []
    law.edit(podOverrides={"resources": {"limits": {"memory": "12Gi"}}})
    law.reconcile()
    assert law.job("train") is not None
    assert "completionTime" not in law.status
    assert "failure" not in law.status


@pytest.mark.parametrize(
    ("code", "kind", "more"),
    [
        (73, "DiskFull", ""),
        (64, "MergeChangedModel", ""),
        (64, "WrittenModelDiffers", ""),
        (64, "LossDiverged", "; both are fixed here: create a new FineTuneJob"),
        (65, "DataChanged", f"; once that is mended, {TRIES_AGAIN}"),
        (66, "ModelChanged", f"; once that is mended, {TRIES_AGAIN}"),
    ],
)
def test_a_deterministic_failure_is_told_in_the_trainers_words_with_what_tries_again(
    law: Any, code: int, kind: str, more: str
) -> None:
    law.run()
    law.pods = []
    law.fail("train", code, kind, "what happened")
    assert law.condition("Ready")["reason"] == kind
    assert law.condition("Ready")["message"] == f"what happened; do this{more}"
    assert law.condition("Stalled")["status"] == "True"
    assert law.status["completionTime"]


@pytest.mark.parametrize(
    "room", [{"keep": 1}, {"storage": {"size": "40Gi"}}], ids=["fewer checkpoints", "a larger volume"]
)
def test_after_a_full_disk_more_room_resumes_the_job(law: Any, room: dict[str, Any]) -> None:
    law.run()
    law.pods = []
    law.fail("train", 73, "DiskFull", "the volume is full")
    law.pass_time(60)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DiskFull"
    law.edit(checkpoints=room)
    resumes(law)


def test_a_change_that_makes_no_room_leaves_a_full_disk_as_it_is(law: Any) -> None:
    law.run()
    law.pods = []
    law.fail("train", 73, "DiskFull", "the volume is full")
    law.edit(checkpoints={"intervalSteps": 7})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DiskFull"
    assert law.status["completionTime"]


@pytest.mark.parametrize("kind", ["MergeChangedModel", "WrittenModelDiffers"])
@pytest.mark.parametrize(
    "output", [{"merge": False}, {"parity": {"maxLogitDifference": "0.1"}}], ids=["no merging", "a higher limit"]
)
def test_after_a_merge_that_failed_another_output_resumes_the_job(law: Any, kind: str, output: dict[str, Any]) -> None:
    law.run()
    law.pods = []
    law.fail("train", 64, kind, "merging moved the logits")
    law.pass_time(60)
    law.reconcile()
    assert law.condition("Ready")["reason"] == kind
    law.edit(output=output)
    resumes(law)
    merge = json.loads(law.config("train.json"))["output"]["merge"]
    assert merge is output.get("merge", True)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        ({"deletionPolicy": "Delete"}, {}),
        ({"merge": False}, {"hearth.dev/output-hash": None}),
    ],
    ids=["nothing about merging", "a Job of an earlier version"],
)
def test_what_does_not_tell_of_another_output_leaves_a_failed_merge_as_it_is(
    law: Any, output: dict[str, Any], told: dict[str, Any]
) -> None:
    law.run()
    law.pods = []
    kept = law.job("train")["metadata"]["annotations"] | told
    law.job("train")["metadata"]["annotations"] = {k: v for k, v in kept.items() if v is not None}
    law.fail("train", 64, "MergeChangedModel", "merging moved the logits")
    law.edit(output=output)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "MergeChangedModel"
    assert law.status["completionTime"]


@pytest.mark.parametrize("change", [{"checkpoints": {"keep": 1}}, {"output": {"merge": False}}], ids=str)
def test_neither_more_room_nor_another_output_disturbs_a_job_that_trains(law: Any, change: dict[str, Any]) -> None:
    law.run()
    before = law.job("train")["metadata"]["name"]
    law.edit(**change)
    law.reconcile()
    assert law.job("train")["metadata"]["name"] == before
    assert "deletionTimestamp" not in law.job("train")["metadata"]
