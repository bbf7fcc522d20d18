"""The charts on a real node: the operator runs from its image under the chart's account; user data outlives it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hearth_cluster.cluster import Cluster
from helm import NAMESPACE, Helm

NAME = "chart-check"
INDEX: dict[str, Any] = {
    "apiVersion": "hearth.dev/v1alpha1",
    "kind": "VectorIndex",
    "metadata": {"name": NAME, "namespace": "default"},
    "spec": {
        "milvus": {"topology": "Standalone", "storage": {"size": "1Gi", "storageClassName": "hearth-block"}},
        "sources": [{"name": "none", "uri": "configMap://not-there"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "not-there"}}],
    },
}


def until(condition: Callable[[], Any], what: str, seconds: float = 90.0) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(1)
    return answer


def operator_pods(cluster: Cluster) -> list[dict[str, Any]]:
    found = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hearth")["items"]
    return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]


def leader(cluster: Cluster) -> str:
    lease = cluster.get("lease", "hearth-operator", "-n", NAMESPACE)
    return str(lease["spec"].get("holderIdentity") or "").partition("_")[0]


@pytest.fixture
def index(hearth: Helm) -> dict[str, Any]:
    """A resource whose volume exists, and which is taken away again."""
    cluster = hearth.cluster
    cluster.apply(INDEX)
    return until(lambda: cluster.get("pvc", "-n", "default", "-l", f"hearth.dev/name={NAME}")["items"], "the volume")[0]


def test_both_operator_pods_are_ready_and_one_leads(hearth: Helm) -> None:
    pods = operator_pods(hearth.cluster)
    assert len(pods) == 2
    for pod in pods:
        assert {c["type"]: c["status"] for c in pod["status"]["conditions"]}["Ready"] == "True"
        assert sum(s["restartCount"] for s in pod["status"]["containerStatuses"]) == 0
    assert leader(hearth.cluster) in {pod["metadata"]["name"] for pod in pods}


def test_the_leader_is_behind_the_progress_service(hearth: Helm) -> None:
    cluster = hearth.cluster
    pods = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in operator_pods(cluster)}
    slices = cluster.get("endpointslices", "-n", NAMESPACE, "-l", "kubernetes.io/service-name=hearth-progress")["items"]
    addresses = [address for one in slices for end in one["endpoints"] for address in end["addresses"]]
    assert addresses == [pods[leader(cluster)]]


def test_the_operator_was_refused_nothing(hearth: Helm, index: dict[str, Any]) -> None:
    logs = hearth.cluster.kubectl("logs", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hearth", "--tail=-1")
    assert logs
    assert "forbidden" not in logs.lower()


def test_an_upgrade_hands_over_without_touching_what_runs(hearth: Helm, index: dict[str, Any]) -> None:
    cluster = hearth.cluster
    before = {pod["metadata"]["name"] for pod in operator_pods(cluster)}
    served = cluster.get("statefulset", f"{NAME}-milvus", "-n", "default")["metadata"]
    hearth.install("hearth", "--set", "podAnnotations.upgraded=yes")
    until(lambda: leader(cluster) not in before | {""}, "a new leader")
    after = cluster.get("statefulset", f"{NAME}-milvus", "-n", "default")["metadata"]
    assert (after["uid"], after["generation"]) == (served["uid"], served["generation"])


def test_uninstalling_keeps_resources_and_their_volumes(hearth: Helm, index: dict[str, Any]) -> None:
    cluster = hearth.cluster
    resource = cluster.get("vectorindex", NAME, "-n", "default")["metadata"]["uid"]
    hearth.uninstall("hearth")
    hearth.uninstall("hearth-crds")
    try:
        assert operator_pods(cluster) == []
        assert cluster.get("vectorindex", NAME, "-n", "default")["metadata"]["uid"] == resource
        kept = cluster.get("pvc", index["metadata"]["name"], "-n", "default")["metadata"]
        assert kept["uid"] == index["metadata"]["uid"]
        assert "deletionTimestamp" not in kept
        assert cluster.get("statefulset", f"{NAME}-milvus", "-n", "default")["spec"]["replicas"] == 1
    finally:
        hearth.install("hearth-crds")
        hearth.install("hearth")
    until(lambda: leader(cluster) in {p["metadata"]["name"] for p in operator_pods(cluster)}, "the new leader")


def test_deleting_the_resource_keeps_its_volume(hearth: Helm, index: dict[str, Any]) -> None:
    cluster = hearth.cluster
    cluster.kubectl("delete", "vectorindex", NAME, "-n", "default", "--wait")
    gone = ("get", "statefulset", f"{NAME}-milvus", "-n", "default", "--ignore-not-found", "-o", "name")
    until(lambda: cluster.kubectl(*gone) == "", "the engine to go")
    assert cluster.get("pvc", index["metadata"]["name"], "-n", "default")["metadata"]["uid"] == index["metadata"]["uid"]
    cluster.kubectl("delete", "pvc", index["metadata"]["name"], "-n", "default")
