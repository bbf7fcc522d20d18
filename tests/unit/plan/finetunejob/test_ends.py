"""How a job ends, that it stays so, and how one that failed is tried again."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339

OUTAGE = {"error": {"class": "HubUnreachable", "message": "team/model could not be fetched from the hub: no route"}}


DIVERGED = {"error": {"class": "LossDiverged", "message": "the loss is nan"}}
ADAPTER = {"kind": "Adapter", "path": "artifacts/adapter-aa", "digest": "sha256:" + "a" * 64, "size": 10}
MISSED = {"passed": False, "reason": "JSONFieldF1 0.3000 is below 0.8"}


def stop(law: Any, code: int, told: dict[str, Any] | None = None, reason: str = "Error") -> None:
    """The training pod ends, which the operator has not seen yet; the Job has failed unless the pod was killed."""
    law.pods = []
    law.end("train", code=code, told=told, reason=reason)
    if reason != "OOMKilled":
        law.conclude("train", "Failed")


def fail(law: Any, code: int, told: dict[str, Any] | None = None, reason: str = "Error") -> None:
    """The training pod ends badly."""
    stop(law, code, told, reason)
    law.pass_time(11)
    law.reconcile()


def train_and_miss_the_gate(law: Any) -> None:
    law.run()
    law.finish(gate=MISSED)


def train_and_fail(law: Any) -> None:
    law.run()
    fail(law, 64, DIVERGED)


def train_and_run_out_of_memory(law: Any) -> None:
    law.run()
    fail(law, 137, reason="OOMKilled")


def train_well(law: Any) -> None:
    law.run()
    law.finish()


def without_generation(status: dict[str, Any]) -> dict[str, Any]:
    """The status but for which generation of the spec it has seen."""
    found = copy.deepcopy(status)
    for part in (found, *found["conditions"]):
        del part["observedGeneration"]
    return found


@pytest.mark.parametrize(
    "end", [train_well, train_and_miss_the_gate, train_and_fail, train_and_run_out_of_memory], ids=lambda f: f.__name__
)
def test_suspending_a_job_that_has_ended_changes_nothing(law: Any, end: Any) -> None:
    end(law)
    before = without_generation(law.status)
    law.edit(suspend=True)
    for _ in range(3):
        law.reconcile()
        law.pass_time(61)
    assert without_generation(law.status) == before
    assert law.status["observedGeneration"] == law.owner["metadata"]["generation"]


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (lambda law: law.complete(), "Succeeded"),
        (lambda law: law.complete(gate=MISSED), "GateNotMet"),
        (lambda law: stop(law, 64, DIVERGED), "LossDiverged"),
        (lambda law: stop(law, 1), "TrainingFailed"),
        (lambda law: stop(law, 137, reason="OOMKilled"), "OOMKilled"),
    ],
    ids=["succeeded", "gate not met", "failed", "crashed", "out of memory"],
)
def test_an_end_that_is_not_on_record_yet_is_not_lost_to_a_suspension(law: Any, end: Any, reason: str) -> None:
    law.run()
    end(law)
    law.edit(suspend=True)
    for _ in range(3):
        law.reconcile()
        law.pass_time(61)
    assert law.condition("Ready")["reason"] == reason
    assert law.status["completionTime"]
    assert ("artifacts" in law.status) is (reason in ("Succeeded", "GateNotMet"))


@pytest.mark.parametrize(
    ("code", "told", "changes"),
    [(69, OUTAGE, {}), (64, DIVERGED, {"podOverrides": {"labels": {"team": "law"}}})],
    ids=["while the hub is away", "with a change that tries again"],
)
def test_what_would_be_tried_again_is_not_while_the_job_is_suspended(
    law: Any, code: int, told: dict[str, Any], changes: dict[str, Any]
) -> None:
    law.run()
    stop(law, code, told)
    law.edit(suspend=True, **changes)
    for _ in range(3):
        law.reconcile()
        law.pass_time(301)
    assert law.status["phase"] == "Suspended"
    assert law.job("train") is None


@pytest.mark.parametrize("end", [train_well, train_and_miss_the_gate], ids=lambda f: f.__name__)
def test_what_has_published_its_artifacts_never_trains_again(law: Any, end: Any) -> None:
    end(law)
    before = without_generation(law.status)
    law.children = {k: c for k, c in law.children.items() if k[0] != "Job"}
    law.pods = []
    law.edit(podOverrides={"labels": {"team": "law"}})
    law.reconcile()
    assert law.job("train") is None
    assert without_generation(law.status) == before


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(None, {"merge": False}, True), ({"merge": False}, {"merge": True}, True), (None, {"merge": True}, False)],
    ids=["merged, not wanted any more", "wanted now", "as it was"],
)
def test_another_output_than_was_published_is_told_and_not_made(law: Any, before: Any, after: Any, told: bool) -> None:
    law.edit(output=before)
    law.run()
    law.finish(**({} if before is None else {"artifacts": [ADAPTER]}))
    was = law.condition("Exported")["message"]
    law.edit(output=after)
    law.reconcile()
    more = "; spec.output.merge has changed since: for other artifacts, create a new FineTuneJob"
    assert law.condition("Exported")["message"] == was + more * told
    assert law.condition("Ready")["reason"] == "Succeeded"
    writes = law.status_writes
    law.pass_time(61)
    law.reconcile()
    assert law.status_writes == writes


def test_a_job_that_ended_stays_so_where_a_newer_operator_would_refuse_its_spec(law: Any) -> None:
    train_well(law)
    before = copy.deepcopy(law.status)
    law.owner["spec"]["aFieldOfAnotherRelease"] = 1
    law.reconcile()
    assert law.status == before


def test_an_attempt_that_was_killed_says_nothing_once_a_later_one_has_come_to_the_end(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=137, reason="OOMKilled")
    law.finish()
    assert law.condition("Ready")["reason"] == "Succeeded"
    assert law.job("train") is not None
    assert law.status["attempt"] == 2


def test_an_end_for_want_of_memory_is_on_record_before_its_job_goes(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=137, reason="OOMKilled")
    law.pass_time(11)
    assert law.reconcile().status_first
    assert law.job("train") is None
    assert law.status["completionTime"]


def test_a_job_whose_deletion_was_lost_is_deleted_in_the_next_pass(law: Any) -> None:
    law.run()
    job, pods = copy.deepcopy(law.job("train")), law.pods
    train_and_run_out_of_memory(law)
    before = copy.deepcopy(law.status)
    law.children[("Job", job["metadata"]["name"])] = job
    law.pods = [p for p in pods if p["status"].get("phase") != "Running"]
    law.reconcile()
    assert law.job("train") is None
    assert law.status == before


def test_a_deadline_that_has_passed_is_on_record_before_its_job_goes(law: Any) -> None:
    law.edit(budget={"deadline": "1h"})
    law.run()
    law.pass_time(3600)
    assert law.reconcile().status_first
    assert "deletionTimestamp" in law.job("train")["metadata"]


def test_an_outage_of_the_hub_is_waited_out(law: Any) -> None:
    law.run()
    fail(law, 69, OUTAGE)
    ready = law.condition("Ready")
    assert ready["reason"] == "HubUnreachable"
    assert ready["message"].endswith("no route; it is tried again every 5 minutes")
    assert law.status["phase"] == "Waiting"
    assert law.status["failure"]["retryable"] is True
    assert "completionTime" not in law.status
    assert law.reconcile().look_again.total_seconds() == 300 - 11
    law.pass_time(300 - 11)
    law.reconcile()
    assert law.job("train") is None
    law.pods = []
    law.reconcile()
    assert law.job("train") is not None
    law.finish()
    assert law.condition("Ready")["reason"] == "Succeeded"


def test_while_the_hub_is_away_its_tries_are_one_failure_until_one_trains(law: Any) -> None:
    law.run()
    fail(law, 69, OUTAGE)
    events, writes = list(law.events), law.status_writes
    for _ in range(3):
        law.pass_time(300)
        law.reconcile()
        law.pods = []
        law.reconcile()
        assert law.job("train") is not None
        state = {"running": {"startedAt": rfc3339(law.now)}}
        law.pod("train", phase="Running", containerStatuses=[{"name": "train", "state": state}])
        law.pass_time(30)
        assert law.reconcile().look_again == timedelta(seconds=270)
        law.pods = []
        fail(law, 69, OUTAGE)
    assert (law.events, law.status_writes) == (events, writes)
    assert law.condition("Stalled")["reason"] == "HubUnreachable"
    law.pass_time(300)
    law.reconcile()
    law.pods = []
    law.reconcile()
    law.pod("train", phase="Running")
    law.pass_time(30)
    law.reconcile()
    assert law.condition("Training")["reason"] == "HubUnreachable"
    law.progress = {"metrics": {"step": 3, "total_steps": 9}, "receivedAt": rfc3339(law.now)}
    law.reconcile()
    assert law.condition("Training")["status"] == "True"
    assert law.status["progress"]["step"] == 3


def test_an_outage_is_waited_out_until_the_deadline_and_no_longer(law: Any) -> None:
    law.edit(budget={"deadline": "2m"})
    law.run()
    fail(law, 69, OUTAGE)
    left = law.reconcile().look_again
    assert left.total_seconds() == 120 - 22, "the deadline comes before the next try"
    law.pass_time(left.total_seconds())
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DeadlineExceeded"
    assert law.status["completionTime"]


def test_a_crash_is_told_by_the_last_line_of_its_log(law: Any) -> None:
    law.run()
    law.pods = []
    pod = law.end("train", code=1)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    ended["message"] = 'Traceback (most recent call last):\n  File "fit.py", line 3\nRuntimeError: bad tensor\n'
    law.conclude("train", "Failed")
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "TrainingFailed"
    assert "ended with exit code 1: RuntimeError: bad tensor" in law.condition("Ready")["message"]


def test_a_failure_says_how_it_is_tried_again_and_so_it_is(law: Any) -> None:
    law.run()
    fail(law, 1)
    assert "a change of budget.retries or podOverrides tries again" in law.status["failure"]["suggestion"]
    law.edit(budget={"retries": 4})
    law.reconcile()
    law.pods = []
    law.reconcile()
    assert "status" not in law.job("train"), "a new Job"
    assert "failure" not in law.status


def test_main_memory_that_runs_out_beside_a_gpu_is_not_told_with_the_gpus_plan(law: Any) -> None:
    law.add_gpu_node()
    law.edit(accelerator={"count": 1})
    train_and_run_out_of_memory(law)
    message = law.condition("Ready")["message"]
    assert message.startswith("the training pod was ended for using more main memory than its limit of ")
    assert "planned were" not in message
    assert "microBatchSize" not in message
    assert law.status["failure"]["suggestion"].startswith("raise podOverrides.resources.limits.memory")


def test_memory_of_a_gpu_that_runs_out_is_told_with_its_plan(law: Any) -> None:
    law.add_gpu_node()
    law.edit(accelerator={"count": 1})
    law.run()
    fail(law, 137, {"error": {"class": "OutOfMemory", "message": "CUDA out of memory"}})
    assert "CUDA out of memory; planned were" in law.condition("Ready")["message"]
    assert law.status["failure"]["suggestion"].startswith("raise accelerator.minMemory here")
