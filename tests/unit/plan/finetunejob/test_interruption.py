"""Pods go; training goes on."""

from __future__ import annotations

from typing import Any

import pytest
from hearth.render.training_job import TEMPLATE_HASH, mebibytes


def test_an_interrupted_pod_is_followed_by_one_that_resumes(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=75)
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Resuming"
    assert law.condition("Stalled")["status"] == "False"
    assert law.status["interruptions"] == 1
    assert law.status["attempt"] == 1


def test_an_interruption_is_no_failed_attempt_but_a_kill_is(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=75)
    law.end("train", code=137)
    law.pass_time(11)
    law.reconcile()
    assert (law.status["attempt"], law.status["interruptions"]) == (2, 1)


def test_a_suspended_job_keeps_its_volume_and_its_checkpoint(law: Any) -> None:
    law.run()
    law.progress = {"receivedAt": law.now.isoformat(), "metrics": {"step": "12", "checkpoint_step": "10"}}
    law.reconcile()
    law.edit(suspend=True)
    law.reconcile()
    assert "deletionTimestamp" in law.job("train")["metadata"]
    law.pods = []
    law.children.pop(("Job", law.job("train")["metadata"]["name"]))
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Suspended"
    assert law.condition("Stalled")["status"] == "False"
    assert law.status["checkpoint"]["step"] == 10
    assert "resumes after step 10" in law.condition("Ready")["message"]
    assert ("PersistentVolumeClaim", "court-artifacts") in law.children


def test_a_job_taken_up_again_trains_with_the_same_batches(law: Any) -> None:
    law.run()
    before = law.status["resolved"]["training"]
    config = law.config("train.json")
    name = law.job("train")["metadata"]["name"]
    law.edit(suspend=True)
    law.pods = [p for p in law.pods if p["metadata"]["labels"]["hearth.dev/component"] != "train"]
    law.reconcile()
    assert law.job("train") is None
    # A larger node must not lead to larger batches in the middle of a run.
    law.nodes = [{"metadata": {"name": "big"}, "status": {"allocatable": {"memory": "640Gi"}}}]
    law.edit(suspend=False)
    law.reconcile()
    assert law.job("train")["metadata"]["name"] == name
    assert law.status["resolved"]["training"] == before
    assert law.config("train.json") == config


def test_a_gpu_node_that_joins_does_not_change_what_a_job_on_cpu_is_told(law: Any) -> None:
    law.edit(accelerator=None)
    law.run()
    config = law.config("train.json")
    assert '"device": "CPU"' in config
    law.add_gpu_node()
    law.reconcile()
    assert law.config("train.json") == config
    assert law.status["resolved"]["accelerator"] == {"count": 0}


@pytest.mark.parametrize("left", [1, 0], ids=["the GPU node is lost", "all nodes are lost"])
def test_a_job_on_a_gpu_waits_for_another_node_when_its_own_is_lost(law: Any, left: int) -> None:
    law.add_gpu_node()
    law.edit(accelerator=None)
    law.run()
    assert law.status["resolved"]["accelerator"] == {"count": 1}
    law.nodes = law.nodes[:left]
    law.reconcile()
    assert law.condition("Training")["status"] == "True", "the pod that runs is left alone"
    law.pods = []
    law.end("train", code=75)
    law.pass_time(61)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Unschedulable"
    assert law.status["phase"] == "Waiting"
    assert "completionTime" not in law.status


def test_a_smaller_node_makes_a_new_pod_wait_with_all_the_memory_that_was_planned(law: Any) -> None:
    law.run()
    law.edit(suspend=True)
    law.pods = []
    law.reconcile()
    law.nodes = [{"metadata": {"name": "small"}, "status": {"allocatable": {"memory": "1Gi"}}}]
    law.edit(suspend=False)
    law.reconcile()
    law.reconcile()
    assert law.condition("Ready")["reason"] != "DoesNotFit"
    made = law.job("train")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert made["limits"]["memory"] == made["requests"]["memory"] == mebibytes(law.status["memory"]["planned"])


def test_a_memory_limit_that_is_too_low_is_refused_after_the_start_too(law: Any) -> None:
    law.run()
    law.edit(podOverrides={"resources": {"limits": {"memory": "512Mi"}}})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DoesNotFit"
    law.edit(podOverrides={"resources": {"limits": {"memory": "12Gi"}}})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Restarting"


def test_a_pod_is_not_replaced_while_the_old_one_still_saves(law: Any) -> None:
    law.run()
    law.edit(suspend=True)
    law.reconcile()
    law.edit(suspend=False)
    law.reconcile()
    assert "deletionTimestamp" in law.job("train")["metadata"]
    assert law.condition("Ready")["reason"] == "Stopping"


def test_more_memory_for_the_pod_makes_a_new_pod_that_resumes(law: Any) -> None:
    law.run()
    before = law.job("train")["metadata"]["annotations"][TEMPLATE_HASH]
    law.edit(podOverrides={"resources": {"limits": {"memory": "12Gi"}}})
    law.reconcile()
    law.pods = []
    law.children.pop(("Job", law.job("train")["metadata"]["name"]))
    law.reconcile()
    assert law.job("train")["metadata"]["annotations"][TEMPLATE_HASH] != before
    assert law.job("train")["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"] == "12Gi"


def test_a_new_trainer_image_does_not_disturb_a_running_job(law: Any) -> None:
    law.run()
    made = law.reconcile()
    assert not [a for a in made.actions if getattr(a, "obj", {}).get("kind") == "Job"]


@pytest.mark.parametrize(
    ("part", "config"), [("prepare", "prepare_config"), ("train", "train_config")], ids=["the check", "training"]
)
def test_an_upgrade_leaves_a_pod_that_resumes_the_configuration_that_its_image_understands(
    law: Any, monkeypatch: pytest.MonkeyPatch, part: str, config: str
) -> None:
    law.reconcile() if part == "prepare" else law.run()
    before = law.config(f"{part}.json")
    monkeypatch.setattr(f"hearth.plan.finetunejob.{config}", lambda *_, **__: {"newer": True})
    law.upgrade()
    law.reconcile()
    assert law.config(f"{part}.json") == before
    assert law.config("ca.crt") == "NEW PEM", "the endpoint that it reports to has a new certificate"


def test_a_job_made_after_an_upgrade_reads_what_its_own_image_understands(law: Any) -> None:
    law.run()
    law.edit(suspend=True)
    law.pods = []
    law.reconcile()
    law.upgrade()
    law.edit(suspend=False)
    law.reconcile()
    assert law.job("train")["spec"]["template"]["spec"]["containers"][0]["image"] == "trainer@sha256:2"
    assert "trainer@sha256:2" in law.config("train.json")


def test_the_model_is_compared_by_the_program_that_checked_it(law: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    law.run()
    checked_by = law.config("inspect_model.py")
    monkeypatch.setattr("hearth.plan.finetunejob.script", lambda _: "print('other digests')")
    law.upgrade()
    law.edit(suspend=True)
    law.pods = []
    law.reconcile()
    law.edit(suspend=False)
    law.reconcile()
    assert law.config("inspect_model.py") == checked_by


def test_an_edit_while_it_trains_reaches_the_next_pod_of_the_same_image(law: Any) -> None:
    law.run()
    law.edit(checkpoints={"intervalSteps": 7})
    law.reconcile()
    assert '"intervalSteps": 7' in law.config("train.json")


def test_a_queued_job_waits_to_be_admitted(law: Any) -> None:
    law.edit(scheduling={"queueName": "team-a"})
    law.start()
    job = law.job("train")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team-a"
    assert job["spec"]["suspend"] is True
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Admitted")["reason"] == "Queued"
    assert law.status["pending"]["waitingOn"] == ["waits in queue team-a to be admitted by Kueue"]
    job["spec"]["suspend"] = False
    law.pod("train", phase="Running")
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Admitted")["status"] == "True"
    assert law.condition("Training")["status"] == "True"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_weights_go_with_the_job_only_if_asked_for_and_nobody_serves_them(law: Any, policy: str) -> None:
    law.edit(output={"deletionPolicy": policy})
    law.start()
    key = ("PersistentVolumeClaim", "court-artifacts")
    assert (key in law.ownerless) == (policy == "Retain")
    law.dependents = [{"kind": "LLMService", "metadata": {"name": "assistant", "namespace": "law"}}]
    law.reconcile()
    assert key in law.ownerless


def test_the_deadline_counts_from_the_first_pod_that_runs_interruptions_included(law: Any) -> None:
    law.edit(budget={"deadline": "1h"})
    law.run()
    begun = law.status["trainingStartTime"]
    law.pass_time(3000)
    assert law.reconcile().look_again.total_seconds() < 600
    law.pods = []
    law.end("train", code=75)
    law.pass_time(300)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Resuming"
    assert law.status["trainingStartTime"] == begun
    law.pass_time(400)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DeadlineExceeded"
    assert law.condition("Stalled")["status"] == "True"


def test_time_in_a_queue_is_not_taken_from_the_deadline(law: Any) -> None:
    law.edit(scheduling={"queueName": "team-a"}, budget={"deadline": "1h"})
    law.start()
    law.pass_time(10 * 3600)
    law.reconcile()
    assert law.condition("Admitted")["reason"] == "Queued"
    job = law.job("train")
    job["spec"]["suspend"] = False
    running = {"running": {"startedAt": law.now.isoformat()}}
    law.pod("train", phase="Running", containerStatuses=[{"name": "train", "state": running}])
    law.pass_time(11)
    left = law.reconcile().look_again
    assert law.condition("Training")["status"] == "True"
    assert left.total_seconds() == 3600 - 11
