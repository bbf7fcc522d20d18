"""A real node: what a pod may rely on, and that it comes back after anything was killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hearth_cluster import gpus, native
from hearth_cluster.cluster import Cluster
from hearth_cluster.processes import Supervisor
from hearth_cluster.progress import Progress
from namespaces import own_namespace

NAMESPACE = "node-e2e"


@pytest.fixture(scope="module")
def cluster(node_cluster: Cluster) -> Iterator[Cluster]:
    with own_namespace(node_cluster, NAMESPACE):
        yield node_cluster


def pod(cluster: Cluster, name: str, script: str, gpu_count: int = 0) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "main",
        "image": cluster.state.images["gateway"],
        "command": ["python3", "-c", script],
    }
    if gpu_count:
        container["resources"] = {"limits": {"nvidia.com/gpu": str(gpu_count)}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]},
    }


def finished(cluster: Cluster, name: str) -> str:
    """The log of a pod that has succeeded."""
    jsonpath = "--for=jsonpath={.status.phase}=Succeeded"
    cluster.kubectl("wait", "-n", NAMESPACE, jsonpath, f"pod/{name}", "--timeout=120s")
    return cluster.kubectl("logs", "-n", NAMESPACE, name)


def condition(cluster: Cluster, name: str, kind: str) -> dict[str, str]:
    conditions = cluster.get("pod", name, "-n", NAMESPACE)["status"].get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})


SERVE = "import http.server as h; h.ThreadingHTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"
ASK = """
import time, urllib.request
for attempt in range(60):
    try:
        print(urllib.request.urlopen("http://server.node-e2e.svc.cluster.local:8000/", timeout=5).status)
        break
    except OSError:
        time.sleep(0.5)
"""


def test_a_pod_reaches_another_through_the_name_of_its_service(cluster: Cluster) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 8000}]},
    }
    cluster.apply(service, pod(cluster, "server", SERVE), pod(cluster, "client", ASK))
    assert finished(cluster, "client").strip() == "200"


def test_exec_runs_in_the_container(cluster: Cluster) -> None:
    cluster.apply(pod(cluster, "server", SERVE))
    cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/server", "--timeout=60s")
    words = ["exec", "-n", NAMESPACE, "server", "--", "python3", "-c", "import os; print(os.uname().nodename)"]
    assert cluster.kubectl(*words).strip() == "server"


OUTSIDE = """
import socket, time
started = time.monotonic()
by_name = lambda: socket.getaddrinfo("hub.example.org", 443)
by_address = lambda: socket.create_connection(("198.51.100.1", 443))
for act in (by_name, by_address):
    try:
        act()
        print("reached")
    except OSError as error:
        print("refused")
print("fast" if time.monotonic() - started < 3 else "slow")
"""


def test_the_world_outside_cannot_be_reached_and_says_so_at_once(cluster: Cluster) -> None:
    cluster.apply(pod(cluster, "outside", OUTSIDE))
    assert finished(cluster, "outside").split() == ["refused", "refused", "fast"]


def test_an_image_that_does_not_exist_is_reported(cluster: Cluster) -> None:
    missing = pod(cluster, "missing", "")
    missing["spec"]["containers"][0]["image"] = "registry.hearth.internal/hearth/nothing:1"
    cluster.apply(missing)
    reason = "{.status.containerStatuses[0].state.waiting.reason}"
    cluster.kubectl("wait", "-n", NAMESPACE, f"--for=jsonpath={reason}=ErrImagePull", "pod/missing", "--timeout=60s")
    cluster.kubectl("delete", "pod", "missing", "-n", NAMESPACE)


def test_gpus_that_the_node_claims_to_have_are_scarce(cluster: Cluster) -> None:
    gpus.advertise(cluster, 2, "NVIDIA-L4")
    try:
        wait = "import time; time.sleep(600)"
        cluster.apply(pod(cluster, "one", wait, gpu_count=1))
        cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/one", "--timeout=60s")
        cluster.apply(pod(cluster, "two", wait, gpu_count=2))
        cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=PodScheduled=false", "pod/two", "--timeout=60s")
        assert "Insufficient nvidia.com/gpu" in condition(cluster, "two", "PodScheduled")["message"]
    finally:
        cluster.kubectl("delete", "pod", "one", "two", "-n", NAMESPACE, "--ignore-not-found")
        gpus.advertise(cluster, 0)


def kill(cluster: Cluster, name: str) -> None:
    identity = Supervisor(cluster.state.folder).identity(name)
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    while identity.alive():
        time.sleep(0.05)


@pytest.mark.parametrize(
    "victims",
    [["kubelet"], ["containerd"], ["etcd", "kube-apiserver"], ["coredns", "registry", "kube-proxy", "csi-driver"]],
    ids="-".join,
)
def test_a_second_up_repairs_what_was_killed_and_the_pods_live_on(cluster: Cluster, victims: list[str]) -> None:
    name = f"survivor-{victims[0]}"
    cluster.apply(pod(cluster, name, "import time; time.sleep(600)"))
    cluster.kubectl("wait", "-n", NAMESPACE, "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    before = json.loads(cluster.kubectl("get", "pod", name, "-n", NAMESPACE, "-o", "json"))["status"]
    for victim in victims:
        kill(cluster, victim)
    native.up(cluster.state, Progress())
    cluster.apply(pod(cluster, f"after-{victims[0]}", "print('hello')"))
    assert finished(cluster, f"after-{victims[0]}").strip() == "hello"
    after = cluster.get("pod", name, "-n", NAMESPACE)["status"]
    assert after["containerStatuses"][0]["containerID"] == before["containerStatuses"][0]["containerID"]
    cluster.kubectl("delete", "pod", name, "-n", NAMESPACE, "--wait=false")


def test_every_file_of_a_pod_lies_below_the_clusters_folders(cluster: Cluster) -> None:
    assert not any(path.name.startswith("cni-") for path in Path("/run/netns").iterdir())
