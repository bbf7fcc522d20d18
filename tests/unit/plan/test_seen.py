"""What is kept of the objects around a resource, and which reports are therefore no reason to plan again."""

from typing import Any

import pytest
from hearth.api.base import Json
from hearth.plan.seen import seen

OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "s-engine-1", "uid": "r", "controller": True}
POD: Json = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}}
    | {"creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [OWNER], "finalizers": ["job-tracking"]},
    "spec": {
        "nodeName": "n",
        "schedulerName": "default-scheduler",
        "containers": [{"name": "engine", "image": "i", "resources": {"limits": {"memory": "1Gi"}}}],
    },
    "status": {
        "phase": "Running",
        "podIP": "10.0.0.1",
        "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"},
            {"type": "Initialized", "status": "True"},
        ],
        "containerStatuses": [{"name": "engine", "ready": True, "containerID": "c", "state": {"running": {}}}],
    },
}


def test_of_a_pod_stays_what_says_whose_it_is_and_how_it_does() -> None:
    assert seen(POD) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}}
        | {"creationTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [OWNER]},
        "spec": {
            "nodeName": "n",
            "containers": [{"name": "engine", "resources": {"limits": {"memory": "1Gi"}}}],
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
            "containerStatuses": [{"name": "engine", "ready": True, "state": {"running": {}}}],
        },
    }


def with_change(kind: str, **parts: Any) -> tuple[Json, Json]:
    meta = {"name": "x", "namespace": "n", "uid": "u"}
    before: Json = {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": {"a": 1}, "status": {}}
    after = {**before, **{k: v for k, v in parts.items() if k != "metadata"}}
    return before, {**after, "metadata": meta | parts.get("metadata", {})}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("PodDisruptionBudget", {"status": {"currentHealthy": 1, "disruptionsAllowed": 1}}),
        ("Service", {"status": {"loadBalancer": {"ingress": []}}}),
        ("ReplicaSet", {"metadata": {"annotations": {"deployment.kubernetes.io/desired-replicas": "2"}}}),
        ("Deployment", {"status": {"readyReplicas": 1, "unavailableReplicas": 1}}),
        ("Deployment", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}}}),
        ("Job", {"status": {"active": 1, "ready": 0, "uncountedTerminatedPods": {}}}),
        ("ConfigMap", {"metadata": {"managedFields": [{"manager": "x"}]}}),
    ],
)
def test_what_controllers_report_to_each_other_changes_nothing(kind: str, parts: Json) -> None:
    before, after = with_change(kind, **parts)
    if kind == "Deployment":
        before["metadata"]["annotations"] = {}
    assert seen(before) == seen(after)


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("Deployment", {"status": {"availableReplicas": 1}}),
        ("ReplicaSet", {"metadata": {"annotations": {"deployment.kubernetes.io/revision": "2"}}}),
        ("Deployment", {"spec": {"a": 2}}),
        ("Deployment", {"metadata": {"annotations": {"somebody": "wrote"}}}),
        ("Job", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
        ("Job", {"status": {"startTime": "2026-01-01T00:00:01Z"}}),
        ("Pod", {"status": {"conditions": [{"type": "PodScheduled", "lastTransitionTime": "2026-01-01T00:00:01Z"}]}}),
        ("PodDisruptionBudget", {"spec": {"a": 2}}),
        ("Service", {"spec": {"a": 2}}),
        ("StatefulSet", {"status": {"readyReplicas": 1}}),
        ("PersistentVolumeClaim", {"status": {"phase": "Bound"}}),
        ("LLMService", {"status": {"phase": "Serving"}}),
    ],
)
def test_what_a_plan_reads_or_we_have_written_is_kept(kind: str, parts: Json) -> None:
    before, after = with_change(kind, **parts)
    assert seen(before) != seen(after)
