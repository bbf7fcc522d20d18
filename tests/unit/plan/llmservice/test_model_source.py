"""Where the model comes from, and what happens when it cannot be had."""

from datetime import timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339

MISSING = {
    "error": {
        "class": "ModelNotFound",
        "message": "/model/nope does not exist; /model holds: config.json",
        "suggestion": "correct the path in spec.model, or put the model there",
    }
}


def test_an_unknown_model_path_is_told_and_the_old_model_goes_on(generate: Any) -> None:
    generate.serve()
    before = generate.deployment()["spec"]
    generate.edit(model={"uri": "pvc://weights/nope"}, engine={"maxModelLen": 512})
    generate.reconcile()
    generate.finish_inspection(MISSING, code=66)
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "ModelNotFound"
    assert "/model/nope does not exist" in generate.condition("ModelReady")["message"]
    assert generate.condition("Stalled")["status"] == "True"
    assert generate.condition("Available")["status"] == "True"
    assert "the previous model is still served" in generate.condition("Ready")["message"]
    assert generate.deployment()["spec"] == before
    assert generate.owner["status"]["failure"]["suggestion"].startswith("correct the path")
    assert generate.events[-1] == "ModelNotFound"


def test_a_missing_model_is_looked_for_again_without_the_condition_flapping(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection(MISSING, code=66)
    generate.reconcile()
    shown = generate.condition("ModelReady")
    writes = generate.status_writes
    generate.pass_time(120)
    generate.forget_jobs()
    generate.reconcile()
    assert "Job" in {kind for kind, _ in generate.children}, "inspected again"
    assert generate.condition("ModelReady") == shown
    assert generate.status_writes == writes
    generate.finish_inspection()
    generate.reconcile()
    assert generate.condition("ModelReady")["status"] == "True"
    assert ("Deployment", "court-engine") in generate.children


def test_a_model_that_stays_missing_is_looked_for_ever_more_rarely(generate: Any) -> None:
    waits: list[int] = []
    generate.reconcile()
    for _ in range(8):
        generate.finish_inspection(MISSING, code=66)
        generate.reconcile()
        (inspection,) = [obj for (kind, _), obj in generate.children.items() if kind == "Job"]
        waits.append(inspection["spec"]["ttlSecondsAfterFinished"])
        generate.pass_time(waits[-1])
        generate.forget_jobs()
        generate.reconcile()
    assert waits == [120, 120, 240, 480, 960, 1800, 1800, 1800]


def test_a_model_that_was_read_and_does_not_fit_is_not_read_again(generate: Any) -> None:
    generate.edit(resources={"limits": {"memory": "1Gi"}})
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    writes = generate.status_writes
    for _ in range(3):
        generate.pass_time(120)
        generate.forget_jobs()
        generate.reconcile()
    assert "Job" not in {kind for kind, _ in generate.children}
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"
    assert generate.status_writes == writes
    generate.edit(resources=None)
    generate.reconcile()
    assert ("Deployment", "court-engine") in generate.children
    assert "inspected" not in generate.owner["status"]


def test_an_inspection_that_hangs_goes_when_another_model_is_asked_for(generate: Any) -> None:
    generate.serve()
    generate.edit(model={"uri": "oci://models/of-a-registry-that-hangs"})
    generate.reconcile()
    assert "Job" in {kind for kind, _ in generate.children}
    generate.edit(model={"uri": "oci://models/smollm2"})
    generate.reconcile()
    assert "Job" not in {kind for kind, _ in generate.children}


def test_a_claim_that_does_not_exist_is_named(generate: Any) -> None:
    generate.owner["spec"]["model"] = {"uri": "pvc://weights/court"}
    generate.reconcile()
    name = next(n for kind, n in generate.children if kind == "Job")
    message = '0/1 nodes are available: persistentvolumeclaim "weights" not found.'
    generate.pods.append(
        {
            "metadata": {
                "name": name,
                "labels": {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"},
            },
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "message": message}]},
        }
    )
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "VolumeMissing"
    assert "PersistentVolumeClaim weights does not exist: create it" in generate.condition("Ready")["message"]


def test_an_inspection_that_finds_no_node_says_so_and_is_waited_for(generate: Any) -> None:
    generate.reconcile()
    (name,) = jobs(generate)
    labels = {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"}
    refused = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Too many pods."}
    generate.pods.append({"metadata": {"name": name, "labels": labels}, "status": {"conditions": [refused]}})
    generate.pass_time(60)
    generate.reconcile()
    told = generate.condition("ModelReady")
    assert (told["reason"], generate.condition("Stalled")["status"]) == ("Unschedulable", "False")
    assert "the model cannot be read yet: 0/1 nodes are available: 1 Too many pods." in told["message"]


def test_an_inspection_that_gets_no_pod_is_told_after_a_minute_with_where_to_look(generate: Any) -> None:
    generate.reconcile()
    (name,) = jobs(generate)
    generate.children[("Job", name)]["status"] = {"startTime": rfc3339(generate.now)}
    generate.pass_time(50)
    assert generate.reconcile().look_again <= timedelta(seconds=10)
    assert generate.condition("ModelReady")["reason"] == "Inspecting"
    generate.pass_time(10)
    generate.reconcile()
    told = generate.condition("ModelReady")
    assert told["reason"] == generate.condition("Stalled")["reason"] == "PodsNotCreated"
    assert f"the model cannot be read: Job {name} gets no pod" in told["message"]
    assert f"`kubectl -n law describe job {name}` says which" in told["message"]
    writes = generate.status_writes
    for _ in range(3):
        generate.pass_time(600)
        generate.reconcile()
    assert (generate.status_writes, generate.events) == (writes, ["PodsNotCreated"])
    generate.pods.append(inspecting(name, phase="Running"))
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "Inspecting"
    assert generate.condition("Stalled")["status"] == "False"


def test_an_inspection_whose_image_takes_long_is_told_and_waited_for(generate: Any) -> None:
    generate.reconcile()
    (name,) = jobs(generate)
    at = rfc3339(generate.now)
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": at}
    mounted = {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": at}
    generate.pods.append(inspecting(name, phase="Pending", conditions=[placed, mounted]))
    generate.pass_time(240)
    assert generate.reconcile().look_again == timedelta(seconds=60)
    generate.pass_time(60)
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "PodNotStarted"
    assert generate.condition("Stalled")["status"] == "False"


def inspecting(name: str, **status: Any) -> dict[str, Any]:
    labels = {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"}
    meta = {"name": f"{name}-x", "namespace": "law", "labels": labels, "creationTimestamp": "2026-11-24T12:00:00Z"}
    return {"metadata": meta, "spec": {}, "status": status}


def test_a_new_model_rolls_out_once_it_is_known(generate: Any) -> None:
    generate.serve()
    generate.edit(model={"uri": "oci://models/other"})
    generate.reconcile()
    assert generate.deployment()["metadata"]["generation"] == 1
    generate.finish_inspection()
    generate.reconcile()
    assert generate.deployment()["metadata"]["generation"] == 2
    volumes = generate.deployment()["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["image"]["reference"] == "models/other"


@pytest.mark.parametrize("uri", ["hf://team/model", "hf://team/model@main"])
def test_every_pod_loads_the_commit_that_was_read(generate: Any, facts: dict[str, Any], uri: str) -> None:
    generate.edit(model={"uri": uri})
    generate.reconcile()
    generate.finish_inspection({"facts": facts | {"revision": "c0ffee"}})
    generate.reconcile()
    (engine,) = generate.deployment()["spec"]["template"]["spec"]["containers"]
    assert engine["args"][:2] == ["--model=team/model", "--revision=c0ffee"]


def test_an_artifact_of_a_model_from_the_hub_has_no_commit_there(tuned: Any, job: Any, facts: dict[str, Any]) -> None:
    base = facts | {"source": "hf://team/model", "revision": "c0ffee"}
    tuned.others[("FineTuneJob", "extractor")] = job(resolved={"model": base})
    tuned.serve()
    assert "revision" not in tuned.owner["status"]["resolved"]["model"]


def test_a_model_on_record_without_a_commit_goes_on_as_it_is(generate: Any) -> None:
    generate.edit(model={"uri": "hf://team/model@main"})
    generate.serve()  # its inspection was one of an older operator
    before = generate.deployment()["spec"]
    generate.reconcile()
    assert generate.deployment()["spec"] == before
    assert "--revision=main" in before["template"]["spec"]["containers"][0]["args"]
    assert "Job" not in {kind for kind, _ in generate.children}


def test_a_cache_that_could_not_be_worked_out_is_said_and_left_to_vllm(generate: Any, facts: dict[str, Any]) -> None:
    unknown = {k: v for k, v in facts.items() if k not in ("attentionHeads", "keyValueHeads", "headDim")}
    generate.reconcile()
    generate.finish_inspection({"facts": unknown | {"kvCache": {"unknown": "config.json has no num_attention_heads"}}})
    generate.reconcile()
    generate.roll_out()
    generate.reconcile()
    told = generate.condition("ModelReady")
    assert told["status"] == "True"
    assert "vLLM takes what is left: config.json has no num_attention_heads" in told["message"]
    assert "kvTokens" not in generate.owner["status"]["memory"]


def jobs(service: Any) -> list[str]:
    return [name for kind, name in service.children if kind == "Job"]


def ask_again(service: Any, value: str) -> None:
    service.owner["metadata"]["annotations"] = {"hearth.dev/reread": value}
    service.reconcile()


def test_a_folder_that_was_replaced_in_place_is_read_again_when_asked_for(generate: Any, facts: dict[str, Any]) -> None:
    generate.serve()
    before = generate.deployment()["spec"]
    ask_again(generate, "1")
    assert len(jobs(generate)) == 1
    assert generate.condition("Ready")["reason"] == "Serving", "what serves goes on meanwhile"
    assert generate.deployment()["spec"] == before
    generate.finish_inspection({"facts": facts | {"digest": "sha256:" + "2" * 64}})
    generate.reconcile()
    assert generate.deployment()["metadata"]["generation"] == 2
    assert generate.owner["status"]["model"]["digest"] == "sha256:" + "2" * 64
    assert generate.owner["status"]["resolved"]["model"]["reread"] == "1"


def test_each_value_is_one_inspection_and_the_operator_writes_none(generate: Any) -> None:
    generate.serve()
    ask_again(generate, "1")
    generate.finish_inspection()
    generate.reconcile()
    generate.forget_jobs()
    generate.reconcile()
    assert jobs(generate) == []
    generate.owner["metadata"]["annotations"] = {}
    generate.reconcile()
    assert jobs(generate) == [], "a value that is taken away asks for nothing"
    ask_again(generate, "2")
    assert len(jobs(generate)) == 1
    assert generate.owner["metadata"]["annotations"] == {"hearth.dev/reread": "2"}


def test_files_that_are_the_same_roll_nothing(generate: Any, facts: dict[str, Any]) -> None:
    generate.edit(model={"uri": "hf://team/model@main"})
    generate.reconcile()
    generate.finish_inspection({"facts": facts | {"revision": "c0ffee"}})
    generate.reconcile()
    generate.roll_out()
    generate.reconcile()
    generate.forget_jobs()
    before = generate.deployment()["spec"]
    ask_again(generate, "1")
    generate.finish_inspection({"facts": facts | {"revision": "decade"}})  # a commit that changed the README
    generate.reconcile()
    assert generate.deployment()["spec"] == before
    assert generate.owner["status"]["resolved"]["model"]["reread"] == "1"


def test_a_second_look_that_fails_is_told_and_leaves_alone_what_serves(generate: Any) -> None:
    generate.serve()
    before = generate.deployment()["spec"]
    ask_again(generate, "1")
    generate.finish_inspection(MISSING, code=66)
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "ModelNotFound"
    assert "the previous model is still served" in generate.condition("Ready")["message"]
    assert generate.deployment()["spec"] == before
    generate.owner["metadata"]["annotations"] = {}
    generate.reconcile()
    assert generate.condition("ModelReady")["status"] == "True"


def test_files_that_no_longer_fit_are_not_forgotten_when_the_annotation_goes(
    generate: Any, facts: dict[str, Any]
) -> None:
    generate.serve()
    ask_again(generate, "1")
    generate.finish_inspection({"facts": facts | {"digest": "sha256:" + "2" * 64, "weightBytes": 2**50}})
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"
    generate.owner["metadata"]["annotations"] = {}
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"
    assert generate.owner["status"]["model"]["digest"] == "sha256:" + "1" * 64


def test_a_tuned_model_needs_no_inspection_and_is_verified_before_it_is_loaded(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.serve()
    assert "Job" not in {kind for kind, _ in tuned.children}
    assert tuned.owner["status"]["model"] == {
        "uri": "pvc://extractor-artifacts/artifacts/merged-3",
        "digest": "sha256:" + "3" * 64,
    }
    (verify,) = tuned.deployment()["spec"]["template"]["spec"]["initContainers"]
    assert verify["command"][1:] == [
        "/hearth/verify_manifest.py",
        "/model/artifacts/merged-3",
        "sha256:" + "3" * 64,
    ]


def test_a_fine_tune_that_is_still_running_is_waited_for(tuned: Any, job: Any) -> None:
    tuned.reconcile()
    assert tuned.condition("ModelReady")["reason"] == "FineTuneJobNotFound"
    tuned.others[("FineTuneJob", "extractor")] = job(conditions=[], gate={}, artifacts=[])
    tuned.pass_time(20)
    tuned.reconcile()
    assert tuned.condition("ModelReady")["reason"] == "WaitingForFineTune"
    assert tuned.condition("Stalled")["status"] == "False"
    assert tuned.owner["status"]["pending"]["waitingOn"] == ["FineTuneJob extractor"]
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.reconcile()
    assert ("Deployment", "court-engine") in tuned.children


def test_a_model_that_failed_its_gate_changes_nothing_that_runs(generate: Any, job: Any) -> None:
    generate.serve()
    before = generate.deployment()["spec"]
    generate.edit(model={"fromFineTune": {"name": "extractor"}})
    generate.others[("FineTuneJob", "extractor")] = job(gate={"passed": False, "reason": "JSONFieldF1 0.41 < 0.9"})
    generate.reconcile()
    assert generate.condition("ModelReady")["reason"] == "GateNotMet"
    assert "JSONFieldF1 0.41 < 0.9" in generate.condition("ModelReady")["message"]
    assert generate.condition("Stalled")["status"] == "True"
    assert generate.condition("Available")["status"] == "True"
    assert generate.deployment()["spec"] == before


def test_a_model_that_failed_its_gate_is_served_when_asked_for_by_digest(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job(gate={"passed": False, "reason": "low"})
    tuned.edit(model={"fromFineTune": {"name": "extractor", "digest": "sha256:" + "3" * 64}})
    tuned.serve()


def test_a_new_artifact_of_the_same_job_is_followed(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.serve()
    newer = {"kind": "Merged", "uri": "pvc://extractor-artifacts/artifacts/merged-4", "digest": "sha256:" + "4" * 64}
    tuned.others[("FineTuneJob", "extractor")] = job(artifacts=[newer])
    tuned.reconcile()
    assert tuned.deployment()["metadata"]["generation"] == 2
    assert tuned.owner["status"]["model"]["digest"] == newer["digest"]


def test_deleting_the_job_of_a_served_model_stops_nothing(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.serve()
    before = tuned.deployment()["spec"]
    del tuned.others[("FineTuneJob", "extractor")]
    tuned.reconcile()
    assert tuned.condition("ModelReady")["status"] == "True"
    assert tuned.condition("ModelReady")["reason"] == "SourceDeleted"
    assert "is still served" in tuned.condition("ModelReady")["message"]
    assert tuned.condition("Ready")["status"] == "True"
    assert tuned.deployment()["spec"] == before


def test_an_adapter_alone_is_refused_with_the_way_out(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.edit(model={"fromFineTune": {"name": "extractor", "artifact": "Adapter"}})
    tuned.reconcile()
    assert tuned.condition("ModelReady")["reason"] == "AdapterNotServable"
    assert "artifact: Merged" in tuned.condition("ModelReady")["message"]


def test_a_model_that_does_not_fit_gets_no_pod(generate: Any) -> None:
    generate.edit(resources={"limits": {"memory": "1Gi"}})
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    assert ("Deployment", "court-engine") not in generate.children
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"
    assert "weights 0.3 GiB" in generate.condition("Scheduled")["message"]
    assert generate.owner["status"]["failure"]["suggestion"].startswith("resources.limits.memory: 3Gi")


def test_what_fits_no_longer_leaves_the_old_pods_alone(generate: Any) -> None:
    generate.serve()
    before = generate.deployment()["spec"]
    generate.edit(resources={"limits": {"memory": "1Gi"}})
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"
    assert generate.deployment()["spec"] == before
    assert generate.condition("Available")["status"] == "True"
