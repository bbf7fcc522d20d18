"""Trouble of pods, told in the service's conditions while the old revision goes on."""

from typing import Any

import pytest

GPU_NODE: dict[str, Any] = {
    "metadata": {
        "name": "g",
        "labels": {
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "nvidia.com/gpu.memory": "23034",
            "nvidia.com/gpu.compute.major": "8",
            "nvidia.com/gpu.compute.minor": "9",
        },
    },
    "status": {"allocatable": {"nvidia.com/gpu": "4", "memory": "64Gi"}},
}
ARGPARSE = """usage: api_server.py [-h] [--host HOST]
                     [--port PORT]
api_server.py: error: unrecognized arguments: --frobnicate=1
"""
TRACEBACK = """(APIServer pid=1) INFO 11-24 19:00:01 [api_server.py:1] starting
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/usr/lib/x.py", line 5, in main
(APIServer pid=1)     raise ValueError("x")
(APIServer pid=1) ValueError: Unknown attention backend FOO
"""


def crashed(message: str, code: int = 1, reason: str = "Error") -> dict[str, Any]:
    ended = {"exitCode": code, "message": message, "reason": reason}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s"}
    status = {"name": "engine", "ready": False, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
    return {"containerStatuses": [status]}


def sidecar(name: str, code: int = 1) -> dict[str, Any]:
    """A container that an admission webhook has put into the pod, and that fails."""
    waiting, ended = {"reason": "CrashLoopBackOff"}, {"exitCode": code, "message": "permission denied"}
    status = {"name": name, "ready": False, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}
    return {"initContainerStatuses": [status]}


def pulling(reason: str) -> dict[str, Any]:
    waiting = {"reason": reason, "message": "manifest unknown"}
    return {
        "containerStatuses": [{"name": "engine", "image": "no/such:1", "ready": False, "state": {"waiting": waiting}}]
    }


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (pulling("ImagePullBackOff"), "ImagePullFailed", "image no/such:1 cannot be pulled: manifest unknown"),
        (pulling("ErrImagePull"), "ImagePullFailed", "no/such:1"),
        (crashed(ARGPARSE, 2), "EngineArgumentRejected", "unrecognized arguments: --frobnicate=1"),
        (crashed(TRACEBACK), "EngineFailed", "ValueError: Unknown attention backend FOO"),
        (crashed("", 137, "OOMKilled"), "OOMKilled", "planned were weights 0.3 GiB, kv-cache 1.0 GiB"),
        (crashed("", 137), "EngineKilled", "was killed (exit code 137) and not for its memory limit"),
        (sidecar("vault-agent-init"), "VaultAgentInitFailed", "container vault-agent-init ended with exit code 1"),
        (sidecar("vault-agent-init", 137), "VaultAgentInitKilled", "container vault-agent-init was killed"),
        (sidecar("3proxy"), "Container3proxyFailed", "container 3proxy ended with exit code 1: permission denied"),
        (sidecar("a-" + "b" * 61), "AB" + "b" * 56 + "Failed", "ended with exit code 1: permission denied"),
        (crashed('{"error": "no dictionary"}', 1), "EngineFailed", 'exit code 1: {"error": "no dictionary"}'),
        (crashed("x" * 9000, 1), "EngineFailed", "x" * 500),
        (crashed("RuntimeError: probe", 137), "EngineKilled", "its log ends with: RuntimeError: probe"),
        (
            crashed('{"error": {"class": "DigestMismatch", "message": "model.safetensors has sha256 0"}}', 65),
            "DigestMismatch",
            "model.safetensors has sha256 0",
        ),
    ],
)
def test_a_new_pod_in_trouble_stalls_the_rollout_and_the_old_pod_serves_on(
    generate: Any, status: dict[str, Any], reason: str, said: str
) -> None:
    generate.serve()
    generate.edit(engine={"args": {"frobnicate": "1"}})
    generate.reconcile()
    generate.break_new_pod(**status)
    generate.reconcile()
    assert generate.condition("RolledOut")["reason"] == reason
    assert said in generate.condition("RolledOut")["message"]
    assert generate.condition("Available")["status"] == "True"
    assert generate.condition("Stalled") | {"status": "True", "reason": reason} == generate.condition("Stalled")
    assert "the previous revision is still served" in generate.condition("Ready")["message"]
    assert generate.events[-1] == reason


def test_a_corrected_spec_is_not_blamed_for_the_pod_that_it_replaces(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    generate.edit(engine={"args": {"frobnicate": "1"}})
    generate.reconcile()
    generate.observe(updated=1)
    generate.pods.append(generate.adopt(generate.pod("court-engine", 1, **crashed(ARGPARSE, 2)), 1))
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "EngineArgumentRejected"
    generate.edit(engine=None)
    generate.events.clear()
    generate.reconcile()
    assert generate.condition("Stalled")["status"] == "False", "the Deployment still has the old template"
    generate.reconcile()
    assert generate.condition("Stalled")["status"] == "False", "its controller has not seen the new one"
    generate.observe()
    generate.reconcile()
    assert generate.condition("Stalled")["status"] == "False", "the new ReplicaSet has no pod yet"
    generate._report("court-engine", updated=1, available=0, total=2)
    generate.pods.append(generate.adopt(generate.pod("court-engine", 2, phase="Pending", containerStatuses=[]), 2))
    generate.reconcile()
    assert generate.condition("RolledOut")["reason"] == "RollingOut"
    assert generate.events == ["RollingOut"], "the end of the problem, once"
    generate.pods[-1]["status"] = crashed(TRACEBACK)
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "EngineFailed", "a pod of the newest template is to blame"


def test_after_a_step_back_the_pod_of_the_step_says_nothing(generate: Any) -> None:
    generate.serve()
    generate.observe(updated=1)
    old = generate.adopt(generate.pods[-1], 1)
    generate.observe(updated=1)  # another template; and the first one again, whose ReplicaSet counts as the newest
    generate.replica_sets[0]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "3"
    generate.pods = [old, generate.adopt(generate.pod("court-engine", 2, **crashed(ARGPARSE, 2)), 2)]
    generate.reconcile()
    assert generate.condition("Stalled")["status"] == "False"


@pytest.mark.parametrize("left", [crashed("", 137), {"conditions": [{"type": "PodScheduled", "status": "False"}]}])
def test_what_an_eviction_left_stalls_no_rollout(generate: Any, left: dict[str, Any]) -> None:
    generate.serve()
    generate.pods.append(generate.pod("court-engine", 7, phase="Failed", **left))
    generate.edit(engine={"maxModelLen": 512})
    generate.reconcile()
    generate.break_new_pod()
    generate.reconcile()
    assert generate.condition("RolledOut")["reason"] == "RollingOut"
    assert generate.condition("Scheduled")["status"] == "True"


def test_a_stalled_service_that_is_scaled_stays_so(generate: Any) -> None:
    generate.serve()
    generate.edit(engine={"args": {"frobnicate": "1"}})
    generate.reconcile()
    generate.break_new_pod(**crashed(ARGPARSE, 2))
    generate.reconcile()
    events = list(generate.events)
    generate.edit(replicas=2)
    for _ in range(3):
        generate.reconcile()
        assert generate.condition("Stalled")["reason"] == "EngineArgumentRejected"
    assert generate.events == events


def test_a_pod_that_finds_no_node_is_waited_for(generate: Any) -> None:
    generate.serve()
    generate.edit(resources={"requests": {"cpu": "64"}})
    generate.reconcile()
    refused = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}
    generate.break_new_pod(conditions=[refused])
    generate.pass_time(60)
    generate.reconcile()
    assert generate.condition("Scheduled")["reason"] == "Unschedulable"
    assert "Insufficient cpu" in generate.condition("Scheduled")["message"]
    assert generate.condition("Reconciling")["status"] == "True"
    assert generate.owner["status"]["pending"]["reason"] == "Unschedulable"
    since = generate.owner["status"]["pending"]["since"]
    generate.pass_time(60)
    generate.reconcile()
    assert generate.owner["status"]["pending"]["since"] == since


def small(node: dict[str, Any]) -> dict[str, Any]:
    return node | {"metadata": {"name": "small"}, "status": {"allocatable": {"cpu": "2", "memory": "1Gi"}}}


def test_every_pod_of_a_service_is_let_in_and_only_engines_are_placed(generate: Any) -> None:
    taint = {"key": "team", "operator": "Equal", "value": "law", "effect": "NoSchedule"}
    other = {"key": "night", "operator": "Exists"}
    generate.edit(
        scheduling={"tolerations": [taint], "priorityClassName": "court", "nodeSelector": {"pool": "gpu"}},
        podOverrides={
            "imagePullSecrets": [{"name": "registry"}],
            "tolerations": [other],
            "labels": {"cost-centre": "law"},
            "nodeSelector": {"disk": "fast"},
            "runtimeClassName": "nvidia",
            "resources": {"limits": {"memory": "9Gi"}},
        },
    )
    generate.reconcile()
    (inspection,) = [obj for (kind, _), obj in generate.children.items() if kind == "Job"]
    generate.finish_inspection()
    generate.reconcile()
    gateway = generate.children[("Deployment", "court-gateway")]
    for obj in (inspection, gateway, generate.deployment()):
        template = obj["spec"]["template"]
        assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
        assert template["spec"]["tolerations"] == [taint, other]
        assert template["spec"]["priorityClassName"] == "court"
        assert template["metadata"]["labels"]["cost-centre"] == "law"
        placed = {"nodeSelector", "runtimeClassName"} & set(template["spec"])
        assert bool(placed) == (obj is generate.deployment())
        (container,) = template["spec"]["containers"]
        assert (container["resources"].get("limits", {}).get("memory") == "9Gi") == bool(placed)


SMALL_GPU_NODE = GPU_NODE | {"status": {"allocatable": {"memory": "1Gi", "nvidia.com/gpu": "1"}}}


@pytest.mark.parametrize("other", [[], [SMALL_GPU_NODE]], ids=["a small node is left", "a GPU node is left"])
def test_a_node_that_is_cordoned_or_lost_does_not_move_or_stall_what_runs(generate: Any, other: list[Any]) -> None:
    generate.serve()
    node = generate.nodes[0]
    generate.nodes = [node | {"spec": {"unschedulable": True}}, small(node), *other]
    before, writes = generate.deployment(), generate.child_writes
    generate.reconcile()
    assert generate.condition("Ready")["reason"] == "Serving"
    generate.edit(replicas=2)
    generate.reconcile()
    assert generate.condition("Stalled")["status"] == "False", "pods that find no room say so themselves"
    assert generate.deployment()["spec"]["template"] == before["spec"]["template"]
    assert generate.child_writes == writes + 2, "the number of engine pods and of gateway pods"


def test_a_change_that_needs_new_pods_is_judged_by_the_nodes_there_are(generate: Any) -> None:
    generate.serve()
    generate.nodes = [small(generate.nodes[0])]
    generate.edit(engine={"dtype": "Float32"})
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "DoesNotFit"


def test_gpus_where_there_are_none_are_told_with_what_the_nodes_have(generate: Any) -> None:
    generate.edit(accelerator={"count": 1, "minMemory": "80G"})
    generate.nodes.append(GPU_NODE)
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    refused = {"type": "PodScheduled", "status": "False", "message": "0/2 nodes are available: 1 Insufficient GPU."}
    generate.break_new_pod(conditions=[refused])
    generate.pass_time(60)
    generate.reconcile()
    message = generate.condition("Scheduled")["message"]
    assert "1 node with 4 x NVIDIA-L4 (23034 MiB)" in message
    assert "NVIDIA-L4 has 24.2G" in message


def test_a_rollout_that_takes_too_long_is_stalled(generate: Any) -> None:
    generate.serve()
    generate.edit(engine={"maxModelLen": 512})
    generate.reconcile()
    generate.break_new_pod()
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    generate.deployment()["status"]["conditions"] = [late]
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "ProgressDeadlineExceeded"


def test_a_quota_that_allows_no_pod_is_told(generate: Any) -> None:
    generate.reconcile()
    generate.finish_inspection()
    generate.reconcile()
    refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: gpus"}
    generate.deployment()["status"] = {"observedGeneration": 1, "conditions": [refused]}
    generate.reconcile()
    assert generate.condition("Stalled")["reason"] == "PodsNotCreated"
    assert "exceeded quota: gpus" in generate.condition("Ready")["message"]


def test_a_pod_that_is_going_is_no_trouble(generate: Any) -> None:
    generate.serve()
    going = generate.pod("court-engine", 7, **crashed("", 137))
    going["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    generate.pods.append(going)
    generate.reconcile()
    assert generate.condition("Ready")["status"] == "True"


def test_a_cluster_with_gpus_gets_the_fewest_that_hold_the_model(generate: Any) -> None:
    generate.nodes.append(GPU_NODE)
    generate.serve()
    resolved = generate.owner["status"]["resolved"]
    assert resolved["device"] == "GPU"
    assert resolved["accelerator"] == {"count": 1, "minMemory": "24G"}
    assert resolved["engineImage"] == "vllm-gpu"


def test_a_gpu_node_that_joins_moves_no_service(generate: Any) -> None:
    generate.serve()
    template = generate.deployment()["spec"]["template"]
    generate.nodes.append(GPU_NODE)
    generate.reconcile()
    assert generate.deployment()["spec"]["template"] == template


@pytest.mark.parametrize("told", [True, False], ids=["Ready", "before its status tells of the GPU"])
def test_a_smaller_gpu_that_joins_moves_no_service(generate: Any, told: bool) -> None:
    generate.nodes.append(GPU_NODE)
    if told:
        generate.serve()
    else:
        generate.reconcile()
        generate.finish_inspection()
        generate.reconcile()
    assert ("resolved" in generate.owner["status"]) is told
    template = generate.deployment()["spec"]["template"]
    labels = GPU_NODE["metadata"]["labels"] | {"nvidia.com/gpu.memory": "15360", "nvidia.com/gpu.product": "Tesla-T4"}
    generate.nodes.append(GPU_NODE | {"metadata": {"name": "t", "labels": labels}})
    generate.reconcile()
    assert generate.deployment()["spec"]["template"] == template
