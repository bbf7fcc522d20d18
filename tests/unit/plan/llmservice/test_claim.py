"""Weights on a claim: where pods may run, and what is told of pods that wait for the volume."""

from typing import Any

import pytest
from hearth.plan.llmservice import KIND_PLAN
from hearth.plan.world import ObjectKey

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-24T12:03:20Z"}
CREATING = [{"name": "engine", "ready": False, "state": {"waiting": {"reason": "ContainerCreating"}}}]


def claim(name: str, *modes: str) -> dict[str, Any]:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {"accessModes": list(modes)}}


@pytest.fixture
def on_claim(generate: Any) -> Any:
    """A service whose weights lie on a claim that one node at a time can mount."""
    generate.others[("PersistentVolumeClaim", "weights")] = claim("weights", "ReadWriteOnce")
    generate.edit(model={"uri": "pvc://weights/court"})
    return generate


def affinity(obj: dict[str, Any]) -> Any:
    return obj["spec"]["template"]["spec"].get("affinity", {}).get("podAffinity")


def test_the_claim_is_looked_at_wherever_the_model_was_named(generate: Any, tuned: Any, job: Any) -> None:
    generate.edit(model={"uri": "pvc://weights/court"})
    assert ObjectKey("PersistentVolumeClaim", "law", "weights") in KIND_PLAN.needs(generate.owner)
    tuned.others[("FineTuneJob", "extractor")] = job()
    assert ObjectKey("PersistentVolumeClaim", "law", "extractor-artifacts") in KIND_PLAN.needs(tuned.owner)


def test_pods_that_read_a_volume_of_one_node_keep_to_the_node_that_has_it(on_claim: Any) -> None:
    on_claim.reconcile()
    (inspection,) = [obj for (kind, _), obj in on_claim.children.items() if kind == "Job"]
    on_claim.finish_inspection()
    on_claim.reconcile()
    for obj in (inspection, on_claim.deployment()):
        (term,) = affinity(obj)[REQUIRED]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        labels = obj["spec"]["template"]["metadata"]["labels"]
        assert term["labelSelector"]["matchLabels"].items() <= labels.items(), "or the first pod would find no node"
    assert affinity(on_claim.children[("Deployment", "court-gateway")]) is None


def test_a_second_look_may_go_to_the_gpu_node_that_has_the_volume_and_says_what_it_waits_for(on_claim: Any) -> None:
    on_claim.serve()
    on_claim.owner["metadata"]["annotations"] = {"hearth.dev/reread": "1"}
    on_claim.reconcile()
    ((name, inspection),) = [(name, obj) for (kind, name), obj in on_claim.children.items() if kind == "Job"]
    tolerated = inspection["spec"]["template"]["spec"]["tolerations"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in tolerated
    labels = {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"}
    refused = {
        "type": "PodScheduled",
        "status": "False",
        "message": "0/1 nodes are available: 1 node(s) were cordoned.",
    }
    on_claim.pods.append({"metadata": {"name": name, "labels": labels}, "status": {"conditions": [refused]}})
    on_claim.reconcile()
    told = on_claim.condition("ModelReady")
    assert told["status"] == "True"
    assert "asked to read it again: the model cannot be read yet: 0/1 nodes are available" in told["message"]
    assert on_claim.condition("Ready")["reason"] == "Serving"


def test_an_artifact_on_the_volume_of_its_job_is_read_on_one_node(tuned: Any, job: Any) -> None:
    tuned.others[("FineTuneJob", "extractor")] = job()
    tuned.others[("PersistentVolumeClaim", "extractor-artifacts")] = claim("extractor-artifacts", "ReadWriteOnce")
    tuned.serve()
    assert affinity(tuned.deployment()) is not None


@pytest.mark.parametrize("modes", [("ReadWriteMany",), ("ReadWriteOnce", "ReadOnlyMany")])
def test_a_volume_that_many_nodes_can_mount_binds_no_pod(on_claim: Any, modes: tuple[str, ...]) -> None:
    bound = claim("weights", "ReadWriteOnce") | {"status": {"accessModes": list(modes)}}
    on_claim.others[("PersistentVolumeClaim", "weights")] = bound
    on_claim.serve()
    assert affinity(on_claim.deployment()) is None


def test_weights_of_an_image_bind_no_pod(generate: Any) -> None:
    generate.serve()
    assert affinity(generate.deployment()) is None


def break_new_pod(service: Any, *, node: str = "m", conditions: tuple[dict[str, Any], ...] = (SCHEDULED,)) -> None:
    """A new pod has a node, and no container."""
    service.edit(engine={"maxModelLen": 512})
    service.reconcile()
    service.break_new_pod(phase="Pending", conditions=list(conditions), containerStatuses=CREATING)
    volumes = service.deployment()["spec"]["template"]["spec"]["volumes"]
    for pod in service.pods:
        pod["spec"]["volumes"] = volumes
    service.pods[-1]["spec"]["nodeName"] = node
    for pod in service.pods[:-1]:
        pod["status"]["phase"] = "Running"


def test_a_pod_that_waits_for_a_volume_of_another_node_is_told_so(on_claim: Any) -> None:
    on_claim.serve()
    break_new_pod(on_claim)
    assert on_claim.reconcile().look_again is not None, "no event tells that it has been too long"
    assert on_claim.condition("RolledOut")["reason"] == "RollingOut"
    on_claim.pass_time(180)
    on_claim.reconcile()
    told = on_claim.condition("RolledOut")
    assert told["reason"] == "VolumeInUse"
    assert "pod court-engine-99 waits on node m for PersistentVolumeClaim weights (ReadWriteOnce)" in told["message"]
    assert "pod court-engine-0 on node n has it" in told["message"]
    assert on_claim.condition("Stalled")["status"] == "True"
    assert on_claim.condition("Available")["status"] == "True"


def test_a_pod_whose_volume_may_be_anywhere_else_is_told_with_what_is_known(on_claim: Any) -> None:
    on_claim.serve()
    break_new_pod(on_claim, node="n")
    on_claim.pass_time(180)
    on_claim.reconcile()
    told = on_claim.condition("RolledOut")
    assert told["reason"] == "PodNotStarted"
    assert "its image, its network or PersistentVolumeClaim weights (ReadWriteOnce) comes late" in told["message"]
    assert "kubectl describe pod court-engine-99" in told["message"]
    assert on_claim.condition("Stalled")["status"] == "False"


def test_a_pod_whose_volumes_are_mounted_may_take_its_time(on_claim: Any) -> None:
    on_claim.serve()
    break_new_pod(on_claim, conditions=(SCHEDULED, {"type": "PodReadyToStartContainers", "status": "True"}))
    on_claim.pass_time(180)
    made = on_claim.reconcile()
    assert on_claim.condition("RolledOut")["reason"] == "RollingOut"
    assert made.look_again is None


def test_an_inspection_that_waits_for_a_volume_says_so(on_claim: Any) -> None:
    on_claim.reconcile()
    name = next(n for kind, n in on_claim.children if kind == "Job")
    on_claim.pods.append(
        {
            "metadata": {
                "name": name,
                "labels": {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"},
            },
            "spec": {"nodeName": "m"},
            "status": {"phase": "Pending", "conditions": [SCHEDULED], "containerStatuses": CREATING},
        }
    )
    on_claim.pass_time(400)
    on_claim.reconcile()
    told = on_claim.condition("ModelReady")
    assert told["reason"] == "PodNotStarted"
    assert "another pod may have it elsewhere" in told["message"]
