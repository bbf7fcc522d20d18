"""From rows to an artifact."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hearth.kube.problems import child_refused, paused, with_problems
from hearth.plan.world import ObjectKey


def test_rows_are_checked_before_a_training_pod_is_asked_for(law: Any) -> None:
    law.reconcile()
    assert law.job("prepare") is not None
    assert law.job("train") is None
    assert law.condition("Ready")["reason"] == "Checking"
    assert "startTime" not in law.status


def test_what_the_check_counted_is_told(law: Any) -> None:
    law.start()
    told = law.condition("DataReady")
    assert told["status"] == "True"
    assert told["message"].startswith("100 rows to learn from and 10 held out (Chat, 20000 tokens")
    assert "2 duplicate rows" in told["message"]
    assert law.status["resolved"]["dataset"]["findings"][0]["lines"] == ["train.jsonl:4", "train.jsonl:9"]


def test_the_start_is_on_record_before_the_training_pod(law: Any) -> None:
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    made = law.reconcile()
    assert made.status_first
    assert made.status["startTime"] == "2026-11-24T12:00:11Z"
    assert made.status["resolved"]["training"]["totalSteps"] == 21


def test_the_commit_that_was_read_is_trained(law: Any) -> None:
    law.owner["spec"]["model"] = {"uri": "hf://team/model@main"}
    law.reconcile()
    law.prepare(revision="c0ffee")
    law.pass_time(11)
    law.reconcile()
    assert json.loads(law.config("train.json"))["model"]["path"] == "hf://team/model@c0ffee"


def test_a_finished_job_is_ready_with_scores_artifacts_and_lineage(law: Any) -> None:
    law.run()
    law.finish()
    status = law.status
    assert law.condition("Ready")["status"] == "True"
    assert law.condition("Ready")["reason"] == "Succeeded"
    assert "JSONFieldF1 0.9300 (base 0.0100)" in law.condition("Ready")["message"]
    assert all(
        law.condition(c)["status"] == "True" for c in ("DataReady", "Admitted", "Training", "Evaluated", "Exported")
    )
    assert status["artifacts"][1]["uri"] == "pvc://court-artifacts/artifacts/merged-bb"
    assert status["lineage"]["dataset"] == "sha256:" + "2" * 64
    assert status["memory"]["observedPeak"] == 2_000_000_000
    assert status["phase"] == "Succeeded"


def test_the_lineage_names_the_image_that_trained_and_not_the_operators_next_one(law: Any) -> None:
    law.run()
    law.upgrade()
    law.finish()
    assert law.status["lineage"]["image"] == "trainer@sha256:1"


def test_a_converged_job_writes_nothing(law: Any) -> None:
    law.run()
    law.finish()
    law.reconcile()
    writes, status_writes = law.writes, law.status_writes
    for _ in range(3):
        law.pass_time(60)
        law.reconcile()
    assert (law.writes, law.status_writes) == (writes, status_writes)


def test_the_end_stays_on_record_when_the_pods_are_gone(law: Any) -> None:
    law.run()
    law.finish()
    before = copy.deepcopy(law.status)
    law.children = {k: c for k, c in law.children.items() if k[0] != "Job"}
    law.pods = []
    law.reconcile()
    assert law.status == before
    assert law.job("train") is None


@pytest.mark.parametrize("met", [True, False], ids=["a success", "an unmet gate"])
def test_a_problem_of_the_pass_that_records_the_end_is_no_part_of_the_end(law: Any, met: bool) -> None:
    law.run()
    law.finish(gate={"passed": met, "reason": "JSONFieldF1 0.9300 is at least 0.8"})
    before = copy.deepcopy(law.status)
    refused = child_refused(ObjectKey("ConfigMap", "law", "court-train"), "exceeded quota")
    law.owner["status"] = with_problems(law.status, law.owner, [refused], law.now)
    assert law.condition("Stalled")["reason"] == "ChildRefused"
    law.reconcile()
    told = [(c["type"], c["status"], c["reason"], c["message"]) for c in law.status["conditions"]]
    assert told == [(c["type"], c["status"], c["reason"], c["message"]) for c in before["conditions"]]
    assert law.status["completionTime"] == before["completionTime"]


def test_a_job_that_was_paused_after_its_end_does_not_stay_marked_as_paused(law: Any) -> None:
    law.run()
    law.finish()
    law.owner["status"] = paused(law.owner, law.now)
    law.reconcile()
    assert "Paused" not in [c["type"] for c in law.status["conditions"]]
    assert law.condition("Ready")["status"] == "True"


def test_a_finished_job_asks_for_no_more_room(law: Any) -> None:
    law.run()
    law.edit(checkpoints={"storage": {"size": "40Gi"}})
    law.finish()
    law.reconcile()
    assert law.size_of_claim() != "40Gi"


def test_a_result_that_is_lost_with_its_pod_is_made_again_from_the_checkpoint(law: Any) -> None:
    law.run()
    law.pods = []
    law.conclude("train", "Complete")
    law.pass_time(11)
    law.reconcile()
    assert law.job("train") is None
    law.reconcile()
    assert law.job("train") is not None
    assert "completionTime" not in law.status


def test_a_gate_that_is_not_met_fails_the_job_and_keeps_the_artifact(law: Any) -> None:
    law.run()
    law.finish(gate={"passed": False, "reason": "JSONFieldF1 0.3000 is below 0.8"})
    assert law.condition("Ready")["reason"] == "GateNotMet"
    assert law.condition("Stalled")["status"] == "True"
    assert "JSONFieldF1 0.3000 is below 0.8" in law.condition("Ready")["message"]
    assert [a["kind"] for a in law.status["artifacts"]] == ["Adapter", "Merged"]
    assert law.status["failure"] == {
        "class": "GateNotMet",
        "retryable": False,
        "message": law.condition("Ready")["message"],
        "suggestion": "train longer or on more rows in a new FineTuneJob, or lower the gate there",
    }


def test_the_end_is_told_once_as_an_event_and_the_steps_towards_it_are_not(law: Any) -> None:
    law.run()
    assert law.events == []
    law.finish()
    law.reconcile()
    assert law.events == ["Succeeded"]


def test_progress_reaches_the_status_at_most_every_ten_seconds(law: Any) -> None:
    law.run()
    for second in range(25):
        law.pass_time(1)
        law.progress = {
            "receivedAt": law.now.isoformat(),
            "percentage": second,
            "etaSeconds": 250 - second,
            "metrics": {"step": str(second), "total_steps": "21", "loss": "0.5", "tokens_per_second": "300.0"},
        }
        before = law.status_writes
        law.reconcile()
        assert law.status_writes - before == (1 if second in (0, 10, 20) else 0)
    assert law.status["progress"]["step"] == 20
    assert law.status["progress"]["eta"] == "3m50s"


def test_the_newest_checkpoint_is_on_record(law: Any) -> None:
    law.run()
    law.progress = {"receivedAt": law.now.isoformat(), "metrics": {"step": "12", "checkpoint_step": "10"}}
    law.reconcile()
    assert law.status["checkpoint"]["step"] == 10


def test_hyper_parameters_that_were_left_open_are_in_the_status(law: Any) -> None:
    law.start()
    chosen = law.status["resolved"]["training"]
    assert chosen["rank"] == 16
    assert chosen["alpha"] == 32
    assert chosen["globalBatchSize"] == 16
    assert chosen["microBatchSize"] == 2
    assert chosen["precision"] == "FP32"
    assert law.status["resolved"]["accelerator"] == {"count": 0}
