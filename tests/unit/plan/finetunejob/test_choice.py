"""What a spec leaves open: batches, steps, and what the pod runs on."""

from __future__ import annotations

from typing import Any

import pytest

CORDON = {"unschedulable": True}
NOT_READY = {"conditions": [{"type": "Ready", "status": "False", "reason": "NodeStatusUnknown"}]}
TAINT = {"key": "team", "value": "vision", "effect": "NoSchedule"}
LARGE = {"metadata": {"name": "large", "labels": {"pool": "large"}}, "status": {"allocatable": {"memory": "512Gi"}}}


def changed(node: dict[str, Any], **parts: dict[str, Any]) -> dict[str, Any]:
    """The node with these parts of metadata, spec and status besides."""
    return {key: {**node.get(key, {}), **parts.get(key, {})} for key in ("metadata", "spec", "status")}


def gpu_node(law: Any, **parts: dict[str, Any]) -> None:
    law.add_gpu_node()
    law.nodes[-1] = changed(law.nodes[-1], **parts)


@pytest.mark.parametrize(
    ("written", "batch", "micro"),
    [
        ({"microBatchSize": 1}, 16, 1),
        ({"microBatchSize": 3}, 18, 3),
        ({"microBatchSize": 32}, 32, 32),
        ({"globalBatchSize": 8, "microBatchSize": 1}, 8, 1),
        ({"globalBatchSize": 6}, 6, 2),
    ],
    ids=str,
)
def test_a_smaller_micro_batch_does_not_change_the_rows_per_step(
    law: Any, written: dict[str, int], batch: int, micro: int
) -> None:
    law.edit(training=written)
    law.start()
    chosen = law.status["resolved"]["training"]
    assert (chosen["globalBatchSize"], chosen["microBatchSize"]) == (batch, micro)


@pytest.mark.parametrize(
    ("tokens", "training", "micro"),
    [
        (2_000, {}, 4),
        (17_000, {}, 4),
        (28_000, {}, 2),
        (90_000, {}, 1),
        (900_000, {"maxSequenceLength": 300}, 2),
        (2_000, {"packing": True, "maxSequenceLength": 512}, 1),
        (90_000, {"microBatchSize": 8}, 8),
    ],
    ids=str,
)
def test_on_cpu_long_rows_share_a_pass_with_fewer(law: Any, tokens: int, training: dict[str, Any], micro: int) -> None:
    law.edit(training=training)
    law.reconcile()
    law.prepare(rows={"trainTokens": tokens, "longestRow": tokens // 50})
    law.pass_time(11)
    law.reconcile()
    assert law.status["resolved"]["training"]["microBatchSize"] == micro


def test_the_batch_of_a_job_that_has_started_stays_as_it_was_chosen(law: Any) -> None:
    law.edit(training={"microBatchSize": 1})
    law.run()
    law.status["resolved"]["training"] |= {"globalBatchSize": 1, "totalSteps": 300}
    config = law.config("train.json")
    law.reconcile()
    assert law.status["resolved"]["training"]["globalBatchSize"] == 1
    assert law.config("train.json") == config.replace('"globalBatchSize": 16', '"globalBatchSize": 1')


@pytest.mark.parametrize(("packing", "steps"), [(False, 25), (True, 3)])
def test_packed_rows_are_counted_as_the_sequences_that_they_fill(law: Any, packing: bool, steps: int) -> None:
    law.edit(training={"packing": packing, "epochs": 1, "globalBatchSize": 4, "microBatchSize": 1})
    law.start()
    assert law.status["resolved"]["training"]["totalSteps"] == steps


def test_a_gpu_is_taken_where_a_node_offers_one(law: Any) -> None:
    gpu_node(law, spec={"taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]})
    law.edit(accelerator=None)
    law.start()
    assert law.status["resolved"]["accelerator"] == {"count": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spec", CORDON),
        ("status", NOT_READY),
        ("spec", {"taints": [TAINT]}),
        ("status", {"allocatable": {"memory": "4Gi", "nvidia.com/gpu": "1"}}),
        ("metadata", {"labels": {"nvidia.com/gpu.sharing-strategy": "time-slicing"}}),
    ],
    ids=["cordoned", "not ready", "tainted", "small main memory", "shared by time-slicing"],
)
def test_the_cpu_is_taken_where_no_node_with_a_gpu_takes_the_pod(law: Any, field: str, value: dict[str, Any]) -> None:
    gpu_node(law, **{field: value})
    law.edit(accelerator=None)
    law.start()
    assert law.status["resolved"]["accelerator"] == {"count": 0}
    assert law.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize(
    "scheduling",
    [{"tolerations": [{"key": "team", "operator": "Exists"}]}, {"tolerations": [{"key": "team", "value": "vision"}]}],
    ids=str,
)
def test_a_tainted_node_with_a_gpu_is_taken_where_the_taint_is_tolerated(law: Any, scheduling: dict[str, Any]) -> None:
    gpu_node(law, spec={"taints": [TAINT]})
    law.edit(accelerator=None, scheduling=scheduling)
    law.start()
    assert law.status["resolved"]["accelerator"] == {"count": 1}


@pytest.mark.parametrize(
    ("node", "scheduling"),
    [
        (LARGE, {"nodeSelector": {"pool": "small"}}),
        (changed(LARGE, spec=CORDON), None),
        (changed(LARGE, spec={"taints": [TAINT]}), None),
        (changed(LARGE, status=NOT_READY), None),
    ],
    ids=["not selected", "cordoned", "tainted", "not ready"],
)
def test_memory_on_cpu_is_that_of_the_largest_node_that_takes_the_pod(
    law: Any, node: dict[str, Any], scheduling: dict[str, Any] | None
) -> None:
    law.nodes = [changed(law.nodes[0], metadata={"labels": {"pool": "small"}}), node]
    law.edit(scheduling=scheduling)
    law.start()
    assert law.status["memory"]["available"] == 16 * 2**30


@pytest.mark.parametrize(
    "away",
    [
        {"spec": {**CORDON, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}},
        {"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]}, "status": NOT_READY},
    ],
    ids=["cordoned", "not ready"],
)
def test_memory_is_planned_for_the_only_node_while_it_is_away(law: Any, away: dict[str, Any]) -> None:
    law.nodes = [changed(law.nodes[0], **away)]
    law.start()
    assert law.status["memory"]["available"] == 16 * 2**30


def test_a_larger_node_is_counted_where_the_spec_selects_it(law: Any) -> None:
    law.nodes = [*law.nodes, changed(LARGE, spec={"taints": [TAINT]})]
    law.edit(scheduling={"nodeSelector": {"pool": "large"}, "tolerations": [{"operator": "Exists"}]})
    law.start()
    assert law.status["memory"]["available"] == 512 * 2**30


def test_who_waits_for_a_gpu_is_told_that_the_cpu_would_do(law: Any) -> None:
    law.add_gpu_node()
    law.edit(accelerator=None)
    law.run()
    law.nodes[-1] = changed(law.nodes[-1], spec=CORDON)
    law.pods = []
    law.end("train", code=75)
    law.pass_time(61)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "Unschedulable"
    assert law.condition("Ready")["message"].endswith(
        "a NVIDIA-L4 node is cordoned; wait for a GPU, or set accelerator.count: 0 to train on the CPU"
    )


def test_a_busy_gpu_is_told_in_the_schedulers_words_with_the_way_out(law: Any) -> None:
    law.add_gpu_node()
    law.edit(accelerator=None)
    law.start()
    busy = "0/2 nodes are available: 1 Insufficient nvidia.com/gpu."
    placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": busy}
    law.pod("train", phase="Pending", conditions=[placed])
    law.pass_time(61)
    law.reconcile()
    told = law.condition("Ready")["message"]
    assert told == f"{busy}; wait for a GPU, or set accelerator.count: 0 to train on the CPU"


def test_a_gpu_that_is_too_small_is_refused_with_the_cpu_as_one_way_out(law: Any) -> None:
    gpu_node(law, metadata={"labels": {"nvidia.com/gpu.memory": "1024", "nvidia.com/gpu.product": "tiny"}})
    law.edit(accelerator=None)
    law.reconcile()
    law.prepare()
    law.pass_time(11)
    law.reconcile()
    assert law.condition("Ready")["reason"] == "DoesNotFit"
    assert law.condition("Ready")["message"].endswith("or accelerator.count: 0 to train on the CPU")


A100 = {
    "metadata": {"name": "a", "labels": {"nvidia.com/gpu.memory": "81920", "nvidia.com/gpu.product": "NVIDIA-A100"}},
    "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "nvidia.com/gpu": "1"}},
}


def start_on_gpus(law: Any, **accelerator: Any) -> None:
    """Up to a training Job that needs more than an L4 has, in a cluster with an A100 besides."""
    law.add_gpu_node()
    law.nodes.append(A100)
    law.edit(accelerator={"count": 1, **accelerator}, training={"gradientCheckpointing": False})
    law.reconcile()
    law.prepare({"longestRow": 2048})
    law.pass_time(11)
    law.reconcile()


def least_gpu_memory(law: Any) -> int | None:
    """The least `nvidia.com/gpu.memory` that the training pod's node affinity lets through."""
    affinity = law.job("train")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    found = [e["values"] for e in term["matchExpressions"] if e["key"] == "nvidia.com/gpu.memory"]
    return int(found[0][0]) + 1 if found else None


def test_what_was_planned_for_a_large_gpu_does_not_get_a_small_one(law: Any) -> None:
    start_on_gpus(law)
    assert law.status["memory"]["available"] > 79 * 2**30
    planned = law.status["memory"]["planned"] / 2**20
    assert 23034 < planned < (least_gpu_memory(law) or 0) < planned * 1.03
    assert law.status["resolved"]["accelerator"] == {"count": 1}, "what was chosen, not what that takes"


def test_more_memory_than_was_planned_is_asked_for_where_the_spec_does(law: Any) -> None:
    start_on_gpus(law, minMemory="80G")
    assert least_gpu_memory(law) == 76294


def test_no_memory_is_asked_of_gpus_that_no_label_describes(law: Any) -> None:
    gpu_node(law, metadata={"labels": {}})
    law.edit(accelerator={"count": 1})
    law.start()
    assert least_gpu_memory(law) is None


def test_a_pod_whose_large_gpu_is_gone_waits_for_one_as_large(law: Any) -> None:
    start_on_gpus(law)
    law.nodes.remove(A100)
    law.edit(budget={"retries": 5})
    law.reconcile()
    law.pods = []
    law.reconcile()
    assert least_gpu_memory(law) is not None
    assert law.condition("Ready")["reason"] == "Unschedulable"
    assert "the nodes have 1 node with 1 x NVIDIA-L4 (23034 MiB)" in law.condition("Ready")["message"]


def test_a_job_that_asked_for_less_before_an_upgrade_is_left_alone(law: Any) -> None:
    start_on_gpus(law)
    job = law.job("train")
    affinity = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    term["matchExpressions"].pop()
    law.pod("train", phase="Running")
    for _ in range(3):
        law.pass_time(61)
        law.reconcile()
    assert law.job("train") is job
    assert "deletionTimestamp" not in job["metadata"]


def test_a_lower_memory_limit_beside_a_gpu_lowers_the_request_with_it(law: Any) -> None:
    law.add_gpu_node()
    law.edit(accelerator={"count": 1}, podOverrides={"resources": {"limits": {"memory": "3Gi"}}})
    law.start()
    made = law.job("train")["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert (made["requests"]["memory"], made["limits"]["memory"]) == ("3072Mi", "3Gi")
