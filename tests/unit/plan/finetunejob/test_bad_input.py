"""One clear message for each thing that can be wrong, and a way back."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339


def test_a_missing_config_map_is_named_and_waited_for(law: Any) -> None:
    del law.others[("ConfigMap", "rows")]
    law.reconcile()
    assert law.condition("DataReady")["status"] == "False"
    assert law.condition("DataReady")["reason"] == "SourceNotFound"
    assert "ConfigMap rows does not exist in namespace law" in law.condition("Ready")["message"]
    assert law.condition("Stalled")["status"] == "False"
    law.provide_rows()
    law.start()
    assert law.condition("DataReady")["status"] == "True"


def test_a_missing_key_is_told_with_the_keys_that_are_there(law: Any) -> None:
    law.others[("ConfigMap", "rows")]["data"] = {"other.jsonl": ""}
    law.reconcile()
    assert law.condition("Ready")["message"] == "ConfigMap rows has no key train.jsonl; it has: other.jsonl"


def test_a_missing_claim_is_named(law: Any) -> None:
    law.edit(model={"uri": "pvc://weights/llama"})
    law.reconcile()
    assert "PersistentVolumeClaim weights does not exist" in law.condition("Ready")["message"]


def test_a_broken_line_fails_the_job_and_mending_it_starts_the_check_again(law: Any) -> None:
    law.reconcile()
    first = law.job("prepare")["metadata"]["name"]
    law.fail("prepare", 65, "MalformedRow", "1 of 3 lines are broken: train.jsonl:2")
    assert law.condition("DataReady")["reason"] == "MalformedRow"
    assert law.condition("Stalled")["status"] == "True"
    assert law.status["failure"]["class"] == "MalformedRow"
    assert law.status["failure"]["retryable"] is False
    law.provide_rows("mended")
    law.reconcile()
    assert law.job("prepare")["metadata"]["name"] != first
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.job("train") is not None
    assert "failure" not in law.status


def test_rows_that_were_mended_where_nobody_sees_it_are_checked_again_when_asked_to(law: Any) -> None:
    law.edit(dataset={"train": {"uri": "https://data.example/rows.jsonl"}})
    law.reconcile()
    first = law.job("prepare")["metadata"]["name"]
    law.fail("prepare", 65, "MalformedRow", "1 of 3 lines are broken: rows.jsonl:2")
    law.reconcile()
    assert law.job("prepare")["metadata"]["name"] == first
    law.owner["metadata"]["annotations"] = {"hearth.dev/reread": "1"}
    law.reconcile()
    second = law.job("prepare")["metadata"]["name"]
    assert second != first
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.job("train") is not None
    law.owner["metadata"]["annotations"] = {"hearth.dev/reread": "2"}
    law.reconcile()
    assert law.job("train") is not None, "what has begun learns from the rows that it began with"
    assert law.job("prepare") is None or law.job("prepare")["metadata"]["name"] == second


def test_an_unknown_model_path_is_told_from_the_inspection(law: Any) -> None:
    law.reconcile()
    pod = law.pod("prepare", phase="Failed")
    error = {"class": "ModelNotFound", "message": "/model/nowhere does not exist", "suggestion": "correct the path"}
    ended = {"exitCode": 66, "message": json.dumps({"error": error})}
    pod["status"]["initContainerStatuses"] = [{"name": "inspect", "state": {"terminated": ended}}]
    law.conclude("prepare", "Failed")
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "ModelNotFound"
    assert law.job("train") is None


@pytest.mark.parametrize(("container", "limit"), [("prepare", "1Gi"), ("inspect", "256Mi")])
def test_a_check_that_needs_more_memory_is_not_tried_again_until_it_gets_more(
    law: Any, container: str, limit: str
) -> None:
    law.reconcile()
    pod = law.pod("prepare", phase="Failed")
    ended = {"exitCode": 137, "reason": "OOMKilled"}
    pod["status"]["initContainerStatuses"] = [{"name": container, "state": {"terminated": ended}}]
    law.conclude("prepare", "Failed")
    law.pass_time(3600)
    assert law.reconcile().look_again is None
    assert law.condition("DataReady")["reason"] == "OOMKilled"
    assert f"more memory than the container's limit of {limit}; set podOverrides" in law.condition("Ready")["message"]
    assert law.status["failure"]["retryable"] is False
    assert law.job("prepare") is not None
    law.edit(podOverrides={"resources": {"limits": {"memory": "3Gi"}}})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Restarting"
    law.pods = []
    law.pass_time(11)
    law.reconcile()
    pod = law.job("prepare")["spec"]["template"]["spec"]
    limits = [c["resources"]["limits"]["memory"] for c in [*pod["initContainers"], *pod["containers"]]]
    assert limits == ["3Gi", "3Gi"]


def test_a_pull_secret_that_is_added_reaches_the_check_that_waits_for_its_image(law: Any) -> None:
    law.reconcile()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "unauthorized"}}
    law.pod("prepare", phase="Pending", initContainerStatuses=[{"name": "inspect", "image": "t", "state": waiting}])
    law.pass_time(61)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "ImagePullFailed"
    law.edit(podOverrides={"imagePullSecrets": [{"name": "registry"}]})
    law.reconcile()
    law.pods = []
    law.reconcile()
    assert law.job("prepare")["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


def test_rows_that_were_found_good_are_not_checked_again_for_another_limit(law: Any) -> None:
    law.nodes = [{"metadata": {"name": "small"}, "status": {"allocatable": {"memory": "1Gi"}}}]
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DoesNotFit"
    law.edit(podOverrides={"resources": {"limits": {"memory": "12Gi"}}})
    law.reconcile()
    assert law.condition("DataReady")["status"] == "True"


def test_a_hub_that_cannot_be_reached_is_asked_again_later(law: Any) -> None:
    law.reconcile()
    law.fail("prepare", 69, "HubUnreachable", "no route")
    assert law.status["failure"]["retryable"] is True
    assert law.reconcile().look_again is not None
    law.pass_time(301)
    law.reconcile()
    assert law.job("prepare") is None
    law.reconcile()
    assert law.job("prepare") is not None


def begun(law: Any, part: str) -> None:
    """A pod of the part's new Job runs, and has not got any further."""
    state = {"running": {"startedAt": rfc3339(law.now)}}
    law.pod(part, phase="Running", containerStatuses=[{"name": part, "state": state}])


def test_while_a_hub_is_away_its_checks_are_one_failure(law: Any) -> None:
    law.reconcile()
    law.fail("prepare", 69, "HubUnreachable", "no route", "use a mirror")
    said = "no route; use a mirror; it is tried again every 5 minutes"
    assert law.condition("DataReady")["message"] == law.condition("Ready")["message"] == said
    events, writes = list(law.events), law.status_writes
    for _ in range(3):
        law.pass_time(301)
        law.reconcile()
        assert law.job("prepare") is None
        law.pods = []
        law.reconcile()
        begun(law, "prepare")
        law.pass_time(30)
        law.reconcile()
        law.pods = []
        law.fail("prepare", 69, "HubUnreachable", "no route", "use a mirror")
    assert (law.events, law.status_writes) == (events, writes)
    assert law.condition("Stalled")["reason"] == "HubUnreachable"


@pytest.mark.parametrize("end", ["another spec", "five minutes"])
def test_the_failure_of_a_check_goes_with_the_spec_it_was_of_or_the_try_that_gets_further(law: Any, end: str) -> None:
    law.reconcile()
    law.fail("prepare", 69, "HubUnreachable", "no route")
    law.pass_time(301)
    law.reconcile()
    law.pods = []
    law.reconcile()
    begun(law, "prepare")
    assert law.reconcile().look_again == timedelta(minutes=5)
    if end == "another spec":
        law.edit(budget={"retries": 5})
    else:
        law.pass_time(300)
    law.reconcile()
    assert law.condition("DataReady")["reason"] == "Checking"
    assert law.condition("Stalled")["status"] == "False"


def wait_for_a_storage_class(law: Any) -> None:
    """Model and rows are good, and the job waits for something else."""
    law.edit(checkpoints={"storage": {"storageClassName": "fast"}})
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "StorageClassNotFound"


def test_what_the_check_found_outlives_its_pods_and_its_job(law: Any) -> None:
    wait_for_a_storage_class(law)
    law.pods = []
    law.children.pop(("Job", law.job("prepare")["metadata"]["name"]))
    law.others[("StorageClass", "fast")] = {"metadata": {"name": "fast"}}
    law.reconcile()
    assert law.job("train") is not None
    assert law.job("prepare") is None


def test_what_was_found_in_other_rows_is_not_taken_for_these(law: Any) -> None:
    wait_for_a_storage_class(law)
    law.pods = []
    law.provide_rows("edited")
    law.others[("StorageClass", "fast")] = {"metadata": {"name": "fast"}}
    law.reconcile()
    assert law.job("prepare") is not None
    assert law.job("train") is None
    law.provide_rows()
    law.reconcile()
    assert law.job("train") is not None
    assert law.job("prepare") is None, "the check of rows that nobody wants any more"


def test_a_check_whose_result_nobody_can_read_any_more_is_made_again(law: Any) -> None:
    law.reconcile()
    law.conclude("prepare", "Complete")
    law.pass_time(11)
    assert law.reconcile().look_again is not None
    assert law.condition("Ready")["reason"] == "ResultLost"
    assert law.status["phase"] == "Waiting"
    law.pass_time(300)
    law.reconcile()
    assert law.job("prepare") is None
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.job("train") is not None
    assert "failure" not in law.status


def test_a_check_that_left_nothing_to_read_is_told_and_not_repeated(law: Any) -> None:
    law.reconcile()
    law.end("prepare")
    law.conclude("prepare", "Complete")
    law.pass_time(3600)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "ResultUnreadable"
    assert law.job("prepare") is not None


def test_a_missing_storage_class_is_named_before_a_volume_is_asked_for(law: Any) -> None:
    law.edit(checkpoints={"storage": {"storageClassName": "fast"}})
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "StorageClassNotFound"
    assert ("PersistentVolumeClaim", "court-artifacts") not in law.children
    law.others[("StorageClass", "fast")] = {"metadata": {"name": "fast"}}
    law.reconcile()
    assert law.children[("PersistentVolumeClaim", "court-artifacts")]["spec"]["storageClassName"] == "fast"
    assert law.job("train") is not None


def test_a_gpu_where_there_is_none_is_told_with_what_the_nodes_have(law: Any) -> None:
    law.edit(accelerator={"count": 1, "minMemory": "24G"})
    law.start()
    assert law.condition("Admitted")["status"] == "False"
    assert law.condition("Ready")["reason"] == "Unschedulable"
    assert "no node offers nvidia.com/gpu" in law.condition("Ready")["message"]


def test_an_image_that_cannot_be_pulled_is_told_and_recovers(law: Any) -> None:
    law.start()
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
    pod = law.pod("train", phase="Pending", containerStatuses=[{"name": "train", "image": "trainer", "state": waiting}])
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "ImagePullFailed"
    assert "manifest unknown" in law.condition("Ready")["message"]
    pod["status"] = {"phase": "Running"}
    law.reconcile()
    assert law.condition("Training")["status"] == "True"
    assert "failure" not in law.status


def test_a_trainer_killed_for_memory_is_not_tried_again_and_the_plan_stands_beside_it(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=137, reason="OOMKilled")
    law.pass_time(11)
    law.reconcile()
    ready = law.condition("Ready")
    assert ready["reason"] == "OOMKilled"
    assert "planned were" in ready["message"]
    assert "activations" in ready["message"]
    assert law.job("train") is None
    law.pass_time(60)
    law.reconcile()
    assert law.job("train") is None
    assert law.condition("Ready")["reason"] == "OOMKilled"


def test_an_allocator_that_gives_up_counts_as_out_of_memory(law: Any) -> None:
    law.run()
    law.pods = []
    law.end("train", code=137, told={"error": {"class": "OutOfMemory", "message": "CUDA out of memory"}})
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "OOMKilled"
    assert "CUDA out of memory" in law.condition("Ready")["message"]


@pytest.mark.parametrize(
    ("said", "held"),
    [
        ({"capacity": {"storage": "1Gi"}}, True),
        ({"capacity": {"storage": "1Gi"}, "conditions": [{"type": "Resizing", "status": "True"}]}, True),
        (
            {"capacity": {"storage": "1Gi"}, "conditions": [{"type": "FileSystemResizePending", "status": "True"}]},
            False,
        ),
        ({"capacity": {"storage": "1Gi"}, "allocatedResourceStatuses": {"storage": "NodeResizePending"}}, False),
        ({"capacity": {"storage": "40Gi"}}, False),
        ({}, False),
    ],
    ids=["asked", "resizing", "only the file system", "only the node", "large", "not bound"],
)
def test_a_pod_waits_until_the_volume_has_grown(law: Any, said: dict[str, Any], held: bool) -> None:
    law.run()
    law.pods = []
    law.fail("train", 73, "DiskFull", "the volume is full")
    law.edit(checkpoints={"storage": {"size": "40Gi"}})
    law.reconcile()
    law.children[("PersistentVolumeClaim", "court-artifacts")]["status"] = said
    law.pods = []
    law.pass_time(61)
    law.reconcile()
    assert (law.job("train") is None) is held
    assert (law.condition("Ready")["message"] == "the volume grows from 1Gi to 40Gi") is held


@pytest.mark.parametrize("allowed", [True, False])
def test_a_volume_that_cannot_grow_is_told_and_not_asked_to(law: Any, allowed: bool) -> None:
    law.others[("StorageClass", "fixed")] = {"metadata": {"name": "fixed"}, "allowVolumeExpansion": allowed}
    law.edit(checkpoints={"storage": {"storageClassName": "fixed", "size": "20Gi"}})
    law.run()
    law.edit(checkpoints={"storage": {"storageClassName": "fixed", "size": "40Gi"}})
    law.pass_time(61)
    law.reconcile()
    assert law.condition("Training")["status"] == "True", "the pod that runs is not disturbed"
    assert law.size_of_claim() == ("40Gi" if allowed else "20Gi")
    told = "the volume has 20Gi and cannot grow to 40Gi: StorageClass fixed does not allow it"
    assert (told in law.condition("Admitted")["message"]) is not allowed


def test_no_pod_is_made_for_a_volume_that_cannot_grow_until_the_size_is_taken_back(law: Any) -> None:
    law.others[("StorageClass", "fixed")] = {"metadata": {"name": "fixed"}}
    law.edit(checkpoints={"storage": {"storageClassName": "fixed", "size": "20Gi"}})
    law.run()
    law.pods = []
    law.fail("train", 73, "DiskFull", "the volume is full")
    law.edit(checkpoints={"storage": {"storageClassName": "fixed", "size": "40Gi"}})
    law.reconcile()
    law.pods = []
    law.pass_time(61)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "VolumeCannotGrow"
    assert law.condition("Stalled")["status"] == "True"
    assert law.job("train") is None
    law.edit(checkpoints={"storage": {"storageClassName": "fixed", "size": "20Gi"}, "keep": 1})
    law.reconcile()
    assert law.job("train") is not None


def test_a_plan_that_cannot_fit_is_refused_with_numbers_and_a_change_that_fits(law: Any) -> None:
    law.nodes = [{"metadata": {"name": "small"}, "status": {"allocatable": {"memory": "3Gi"}}}]
    law.edit(training={"microBatchSize": 8})
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DoesNotFit"
    assert law.condition("Admitted")["status"] == "False"
    assert "but the pod can have 3.0 GiB" in law.condition("Ready")["message"]
    assert law.status["failure"]["suggestion"].startswith("set training.microBatchSize: ")
    assert law.job("train") is None


def test_a_spec_that_bypassed_admission_is_stalled_with_the_same_message(law: Any) -> None:
    law.edit(accelerator={"count": 4})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "InvalidSpec"
    assert "training runs in one process" in law.condition("Ready")["message"]


def test_a_deadline_that_bypassed_admission_is_told_as_what_it_is(law: Any) -> None:
    law.edit(budget={"deadline": "9999999d"})
    law.reconcile()
    assert law.condition("Ready")["reason"] == "InvalidSpec"
    assert "spec.budget.deadline" in law.condition("Ready")["message"]


def test_the_longest_deadline_can_be_counted_down(law: Any) -> None:
    law.edit(budget={"deadline": "9999d999999h9s"})
    law.run()
    assert law.condition("Training")["status"] == "True"
