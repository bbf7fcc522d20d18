"""Pods that do not come and pods that do not go: what is overdue, and where to look."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339

NO_NODE = "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
CREATING = {"waiting": {"reason": "ContainerCreating"}}


def begin(law: Any, part: str) -> None:
    """Up to the part's Job, which its controller has seen and which has no pod yet."""
    law.reconcile() if part == "prepare" else law.start()
    law.job(part)["status"] = {"startTime": rfc3339(law.now)}


def placed(law: Any) -> list[dict[str, str]]:
    return [{"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(law.now)}]


def told(law: Any) -> tuple[str, str]:
    ready = law.condition("Ready")
    return ready["reason"], ready["message"]


@pytest.mark.parametrize("part", ["prepare", "train"])
def test_what_the_scheduler_says_of_a_pod_is_passed_on(law: Any, part: str) -> None:
    begin(law, part)
    placing = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": NO_NODE}
    law.pod(part, phase="Pending", conditions=[placing])
    law.pass_time(61)
    law.reconcile()
    assert told(law) == ("Unschedulable", NO_NODE)
    assert law.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize("part", ["prepare", "train"])
def test_a_scheduler_that_names_every_taint_is_cut_to_what_a_status_holds(law: Any, part: str) -> None:
    begin(law, part)
    said = "0/12 nodes are available: " + ", ".join(f"1 node(s) had untolerated taint(s) {n * 80}" for n in "abcdefghi")
    placing = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said * 6}
    law.pod(part, phase="Pending", conditions=[placing])
    law.pass_time(61)
    law.reconcile()
    reason, message = told(law)
    assert (reason, len(message), message[-1]) == ("Unschedulable", 1024, "…")
    assert message[:1023] == (said * 6)[:1023]
    assert all(len(what) <= 1024 for what in law.status["pending"]["waitingOn"])


@pytest.mark.parametrize("part", ["prepare", "train"])
def test_a_job_that_gets_no_pod_is_told_after_a_minute_with_where_to_look(law: Any, part: str) -> None:
    begin(law, part)
    law.pass_time(50)
    again = law.reconcile().look_again
    assert told(law)[0] != "PodsNotCreated"
    assert again <= timedelta(seconds=11)
    law.pass_time(11)
    law.reconcile()
    reason, message = told(law)
    assert reason == "PodsNotCreated"
    assert f"`kubectl -n law describe job {law.job(part)['metadata']['name']}` says which" in message
    assert law.status["phase"] == "Waiting"
    assert law.events[-1] == "PodsNotCreated"
    law.pod(part, phase="Running")
    law.reconcile()
    assert told(law)[0] == ("Checking" if part == "prepare" else "Training")
    assert "failure" not in law.status


def test_a_job_that_its_controller_has_not_come_to_has_time(law: Any) -> None:
    law.reconcile()
    law.pass_time(300)
    assert law.reconcile().look_again == timedelta(seconds=300)
    assert told(law)[0] == "Checking"
    law.pass_time(300)
    law.reconcile()
    assert told(law)[0] == "PodsNotCreated"


def test_the_pause_between_two_attempts_is_no_pod_that_does_not_come(law: Any) -> None:
    law.run()
    law.pods = []
    law.job("train")["status"] = {"startTime": rfc3339(law.now)}
    law.end("train", code=1)
    law.pass_time(600)
    law.reconcile()
    assert told(law)[0] == "Starting"
    law.pass_time(61)
    law.reconcile()
    assert told(law)[0] == "PodsNotCreated"


def test_a_queues_time_is_no_time_without_a_pod(law: Any) -> None:
    law.edit(scheduling={"queueName": "team-a"})
    law.start()
    law.pass_time(3600)
    job = law.job("train")
    job["spec"]["suspend"] = False
    job["status"] = {"startTime": rfc3339(law.now)}
    law.pass_time(30)
    law.reconcile()
    assert told(law)[0] == "Starting"


@pytest.mark.parametrize("part", ["prepare", "train"])
@pytest.mark.parametrize("states", [[CREATING], []], ids=["creating", "the kubelet has not spoken"])
def test_a_pod_that_gets_no_container_is_told_after_five_minutes(
    law: Any, part: str, states: list[dict[str, Any]]
) -> None:
    begin(law, part)
    law.pass_time(30)
    statuses = [{"name": part, "state": s} for s in states]
    pod = law.pod(part, phase="Pending", conditions=placed(law), containerStatuses=statuses)
    law.pass_time(290)
    assert law.reconcile().look_again == timedelta(seconds=10)
    assert told(law)[0] == ("Checking" if part == "prepare" else "Starting")
    law.pass_time(10)
    law.reconcile()
    reason, message = told(law)
    assert reason == "PodNotStarted"
    assert f"`kubectl -n law describe pod {pod['metadata']['name']}` says which" in message
    assert law.condition("Stalled")["status"] == "False", "a large image may take longer"


def test_a_check_that_reads_a_large_model_is_not_overdue(law: Any) -> None:
    law.reconcile()
    reading = [{"name": "inspect", "state": {"running": {}}}]
    checking = [{"name": "prepare", "state": {"waiting": {"reason": "PodInitializing"}}}]
    law.pod(
        "prepare",
        phase="Pending",
        conditions=placed(law),
        initContainerStatuses=reading,
        containerStatuses=checking,
    )
    law.pass_time(3600)
    law.reconcile()
    assert told(law)[0] == "Checking"


def test_a_pod_that_saves_before_it_goes_is_told_as_such(law: Any) -> None:
    law.run()
    law.pods[-1]["metadata"]["deletionTimestamp"] = rfc3339(law.now + timedelta(seconds=120))
    law.pass_time(60)
    law.reconcile()
    assert told(law) == ("Stopping", "the training pod writes a checkpoint and stops")


def test_a_pod_that_stays_on_a_node_that_is_lost_is_told_with_the_way_out(law: Any) -> None:
    law.run()
    pod = law.pods[-1]
    pod["spec"] = {**pod["spec"], "nodeName": "worker-7"}
    pod["metadata"]["deletionTimestamp"] = rfc3339(law.now)
    law.pass_time(299)
    law.reconcile()
    assert told(law)[0] == "Stopping"
    law.pass_time(2)
    law.reconcile()
    reason, message = told(law)
    assert reason == "PodTerminating"
    assert "on worker-7 was to end by 2026-11-24T12:" in message
    assert f"`kubectl -n law delete pod {pod['metadata']['name']} --force`" in message
    assert law.status["phase"] == "Waiting"


def test_a_suspended_job_tells_of_a_pod_that_does_not_go(law: Any) -> None:
    law.run()
    law.edit(suspend=True)
    law.pods[-1]["metadata"]["deletionTimestamp"] = rfc3339(law.now)
    assert law.reconcile().look_again == timedelta(minutes=5)
    law.pass_time(301)
    law.reconcile()
    assert told(law)[0] == "Suspended"
    assert "its node may be lost" in told(law)[1]
