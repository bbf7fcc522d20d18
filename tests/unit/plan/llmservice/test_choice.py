"""What an engine runs on: only nodes that its pods may go to count."""

from __future__ import annotations

import json
from typing import Any

import pytest

CORDON = {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}
NOT_READY = {"conditions": [{"type": "Ready", "status": "False"}]}
TAINT = {"key": "team", "value": "vision", "effect": "NoSchedule"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
SHARED = {"nvidia.com/gpu.sharing-strategy": "time-slicing"}

MODEL_OF_3B = {
    "parameters": 3_000_000_000,
    "weightBytes": 6_000_000_000,
    "hiddenSize": 2048,
    "layers": 36,
    "attentionHeads": 16,
    "keyValueHeads": 8,
    "headDim": 128,
    "intermediateSize": 11008,
    "vocabularySize": 151936,
    "maxPositionEmbeddings": 131072,
}


def node(pool: str, memory: str = "64Gi", mib: int | None = None, **spec: Any) -> dict[str, Any]:
    """A node of a pool, with a GPU where `mib` says how large."""
    gpu = {"nvidia.com/gpu.memory": str(mib), "nvidia.com/gpu.product": f"GPU-{mib}"} if mib else {}
    offers = {"nvidia.com/gpu": "1"} if mib else {}
    return {
        "metadata": {"name": pool, "labels": {"pool": pool, **gpu}},
        "spec": spec,
        "status": {"allocatable": {"memory": memory, **offers}},
    }


def with_parts(found: dict[str, Any], **parts: dict[str, Any]) -> dict[str, Any]:
    """The node with these parts of metadata, spec and status besides."""
    labels = {**found["metadata"]["labels"], **parts.pop("labels", {})}
    parts["metadata"] = {**parts.get("metadata", {}), "labels": labels}
    return {key: {**found[key], **parts.get(key, {})} for key in found}


CPU_NODE = node("cpu")
L4_NODE = node("l4", mib=23034)
T4_NODE, A100_NODE = node("t4", mib=15360), node("a100", mib=81920)


def plan_for(service: Any, nodes: list[dict[str, Any]], facts: dict[str, Any]) -> dict[str, Any]:
    """What was chosen in a cluster of these nodes."""
    service.nodes = nodes
    service.reconcile()
    service.finish_inspection({"facts": facts})
    service.reconcile()
    service.pass_time(200)
    service.reconcile()
    found: dict[str, Any] = service.owner["status"].get("resolved", {})
    return found


@pytest.mark.parametrize(
    ("gpu", "spec"),
    [
        (L4_NODE, {"scheduling": {"nodeSelector": {"pool": "cpu"}}}),
        (L4_NODE, {"podOverrides": {"nodeSelector": {"pool": "cpu"}}}),
        (with_parts(L4_NODE, spec={"taints": [TAINT]}), {}),
        (with_parts(L4_NODE, spec=CORDON), {}),
        (with_parts(L4_NODE, status=NOT_READY), {}),
        (with_parts(L4_NODE, labels=SHARED), {}),
    ],
    ids=["not selected", "not selected by podOverrides", "tainted", "cordoned", "not ready", "shared by time-slicing"],
)
def test_the_cpu_is_taken_where_no_node_with_a_gpu_takes_the_pod(
    generate: Any, facts: dict[str, Any], gpu: dict[str, Any], spec: dict[str, Any]
) -> None:
    generate.edit(**spec)
    assert plan_for(generate, [CPU_NODE, gpu], facts)["device"] == "CPU"


@pytest.mark.parametrize(
    ("taint", "spec"),
    [(GPU_TAINT, {}), (TAINT, {"scheduling": {"tolerations": [{"key": "team", "operator": "Exists"}]}})],
    ids=["kept for pods with GPUs", "tolerated"],
)
def test_a_gpu_behind_a_tolerated_taint_is_taken(
    generate: Any, facts: dict[str, Any], taint: dict[str, Any], spec: dict[str, Any]
) -> None:
    generate.edit(**spec)
    assert plan_for(generate, [CPU_NODE, with_parts(L4_NODE, spec={"taints": [taint]})], facts)["device"] == "GPU"


@pytest.mark.parametrize(
    ("other", "spec"),
    [
        (T4_NODE, {"scheduling": {"nodeSelector": {"pool": "a100"}}}),
        (with_parts(T4_NODE, spec={"taints": [TAINT]}), {}),
        (with_parts(T4_NODE, spec=CORDON), {}),
        (with_parts(T4_NODE, status=NOT_READY), {}),
    ],
    ids=["not selected", "tainted", "cordoned", "not ready"],
)
def test_the_size_is_that_of_a_gpu_that_the_pod_may_have(
    generate: Any, facts: dict[str, Any], other: dict[str, Any], spec: dict[str, Any]
) -> None:
    generate.edit(accelerator={"count": 1}, **spec)
    resolved = plan_for(generate, [other, A100_NODE], facts | MODEL_OF_3B)
    assert (resolved["accelerator"], resolved["maxModelLen"]) == ({"count": 1, "minMemory": "85G"}, 131072)


@pytest.mark.parametrize("away", [{"spec": CORDON}, {"status": NOT_READY}], ids=["cordoned", "not ready"])
def test_the_size_is_that_of_a_gpu_that_will_be_back_where_there_is_no_other(
    generate: Any, facts: dict[str, Any], away: dict[str, Any]
) -> None:
    generate.edit(accelerator={"count": 1})
    resolved = plan_for(generate, [CPU_NODE, with_parts(T4_NODE, **away)], facts | MODEL_OF_3B)
    assert (resolved["accelerator"], resolved["maxModelLen"]) == ({"count": 1, "minMemory": "16G"}, 37712)


@pytest.mark.parametrize(
    ("large", "spec"),
    [
        (node("large", "256Gi"), {"scheduling": {"nodeSelector": {"pool": "small"}}}),
        (node("large", "256Gi", taints=[TAINT]), {}),
        (with_parts(node("large", "256Gi"), status=NOT_READY), {}),
    ],
    ids=["not selected", "tainted", "not ready"],
)
def test_memory_on_cpu_is_that_of_the_largest_node_that_takes_the_pod(
    generate: Any, facts: dict[str, Any], large: dict[str, Any], spec: dict[str, Any]
) -> None:
    generate.edit(accelerator={"count": 0}, **spec)
    assert plan_for(generate, [node("small", "4Gi"), large], facts | MODEL_OF_3B) == {}
    assert generate.condition("Ready")["reason"] == "DoesNotFit"
    assert ("Deployment", "court-engine") not in generate.children


@pytest.mark.parametrize("accelerator", [None, {"count": 1}], ids=str)
@pytest.mark.parametrize(
    "changed",
    [{"spec": CORDON}, {"status": NOT_READY}, {"spec": {"taints": [TAINT]}}, {"labels": {"pool": "other"}}],
    ids=["cordoned", "not ready", "tainted", "labelled anew"],
)
def test_an_engine_on_a_gpu_stays_as_it_is_whatever_becomes_of_its_node(
    generate: Any, accelerator: Any, changed: dict[str, Any]
) -> None:
    generate.edit(accelerator=accelerator, scheduling={"nodeSelector": {"pool": "a100"}})
    generate.nodes = [CPU_NODE, T4_NODE, A100_NODE]
    generate.serve()
    before, writes = json.dumps(generate.deployment()["spec"]["template"]), generate.child_writes
    generate.nodes = [CPU_NODE, T4_NODE, with_parts(A100_NODE, **json.loads(json.dumps(changed)))]
    generate.reconcile()
    assert json.dumps(generate.deployment()["spec"]["template"]) == before
    assert generate.child_writes == writes
    assert generate.condition("Ready")["reason"] == "Serving"
