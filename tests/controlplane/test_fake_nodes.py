"""Fake nodes take real pods from the real scheduler and play their lives."""

from __future__ import annotations

import json
from typing import Any

from hearth_cluster import scripted_pods
from hearth_cluster.cluster import Cluster

JOB: dict[str, Any] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "train"},
    "spec": {
        "backoffLimit": 0,
        "template": {
            "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "registry.invalid/train"}]}
        },
    },
}


def gpu_pod(name: str, gpus: int, memory_over_mib: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {
                                "matchExpressions": [
                                    {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": [str(memory_over_mib)]}
                                ]
                            }
                        ]
                    }
                }
            },
            "containers": [
                {
                    "name": "main",
                    "image": "registry.invalid/engine",
                    "resources": {"limits": {"nvidia.com/gpu": str(gpus)}},
                }
            ],
        },
    }


def create(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    items = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("create", "-n", namespace, "-f", "-", stdin=items)


def job_pod(cluster: Cluster, namespace: str) -> str:
    cluster.kubectl("wait", "-n", namespace, "--for=create", "pod", "-l", "job-name=train", "--timeout=30s")
    name = cluster.get("pods", "-n", namespace, "-l", "job-name=train")["items"][0]["metadata"]["name"]
    cluster.kubectl("wait", "-n", namespace, "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
    return str(name)


def test_a_pod_goes_to_the_gpu_that_has_the_memory_it_asks_for(
    control_plane: Cluster, gpu_nodes: list[str], namespace: str
) -> None:
    create(control_plane, namespace, gpu_pod("large", 4, 40000), gpu_pod("small", 4, 20000))
    control_plane.kubectl("wait", "-n", namespace, "--for=condition=Ready", "pod/large", "pod/small", "--timeout=30s")
    large = control_plane.get("pod", "large", "-n", namespace)["spec"]["nodeName"]
    assert control_plane.get("node", large)["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"


def test_a_pod_that_asks_for_more_gpus_than_a_node_has_stays_pending(
    control_plane: Cluster, gpu_nodes: list[str], namespace: str
) -> None:
    create(control_plane, namespace, gpu_pod("huge", 9, 40000))
    control_plane.kubectl("wait", "-n", namespace, "--for=condition=PodScheduled=false", "pod/huge", "--timeout=30s")
    conditions = control_plane.get("pod", "huge", "-n", namespace)["status"]["conditions"]
    assert "Insufficient nvidia.com/gpu" in conditions[0]["message"]


def test_a_jobs_pod_ends_with_the_message_it_is_told(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    create(control_plane, namespace, JOB)
    pod = job_pod(control_plane, namespace)
    message = json.dumps({"result": {"loss": 0.1, "note": 'said "done"'}})
    control_plane.end_pod(namespace, pod, message=message)
    control_plane.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/train", "--timeout=30s")
    status = control_plane.get("pod", pod, "-n", namespace)["status"]
    assert status["containerStatuses"][0]["state"]["terminated"]["message"] == message


def test_a_jobs_pod_fails_with_the_code_and_reason_it_is_told(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    create(control_plane, namespace, JOB)
    pod = job_pod(control_plane, namespace)
    control_plane.end_pod(namespace, pod, exit_code=137, reason="OOMKilled")
    control_plane.kubectl("wait", "-n", namespace, "--for=condition=Failed", "job/train", "--timeout=30s")
    terminated = control_plane.get("pod", pod, "-n", namespace)["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (137, "OOMKilled")


def test_a_pod_can_wait_for_an_image_that_never_comes(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    annotations = {
        "kwok.hearth.dev/waiting-reason": "ImagePullBackOff",
        "kwok.hearth.dev/waiting-message": 'Back-off pulling image "registry.invalid/x"',
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "waits", "annotations": annotations},
        "spec": {"containers": [{"name": "main", "image": "registry.invalid/x"}]},
    }
    create(control_plane, namespace, pod)
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    control_plane.kubectl(
        "wait", "-n", namespace, f"--for=jsonpath={reason}=ImagePullBackOff", "pod/waits", "--timeout=30s"
    )
    assert control_plane.get("pod", "waits", "-n", namespace)["status"]["phase"] == "Pending"


def test_replicas_of_a_deployment_become_available(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    control_plane.kubectl("create", "deployment", "web", "-n", namespace, "--image=registry.invalid/x", "--replicas=3")
    control_plane.kubectl("wait", "-n", namespace, "--for=condition=Available", "deployment/web", "--timeout=30s")


def test_pods_that_others_create_can_be_told_beforehand_how_they_end(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    message = json.dumps({"result": {"note": 'it\'s "done"\n'}})
    labels = {"job-name": "train", "batch.kubernetes.io/job-name": "train"}
    scripted_pods.script_end(control_plane, "train-ends", labels, message=message)
    try:
        create(control_plane, namespace, JOB)
        control_plane.kubectl("wait", "-n", namespace, "--for=condition=Complete", "job/train", "--timeout=30s")
        pod = control_plane.get("pods", "-n", namespace, "-l", "job-name=train")["items"][0]
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["message"] == message
    finally:
        scripted_pods.forget(control_plane, "train-ends")
