"""The real scheduler and pods that read one volume: the first goes anywhere, the others to its node."""

from __future__ import annotations

import json
from typing import Any

from hearth.render.one_node import beside_other_readers
from hearth_cluster.cluster import Cluster


def deployment(name: str, claim: str | None) -> dict[str, Any]:
    plain = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "engine", "image": "registry.invalid/x"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 4,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "selector": {"matchLabels": {"app": name}},
            "template": beside_other_readers(plain, claim),
        },
    }


def roll_out(cluster: Cluster, namespace: str, obj: dict[str, Any]) -> set[str]:
    """The nodes of the Deployment's pods once all of them are of the newest revision and available."""
    name = obj["metadata"]["name"]
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(obj))
    cluster.kubectl("rollout", "status", "-n", namespace, f"deployment/{name}", "--timeout=60s")
    pods = cluster.get("pods", "-n", namespace, "-l", f"app={name}")["items"]
    return {p["spec"]["nodeName"] for p in pods if "deletionTimestamp" not in p["metadata"]}


def test_pods_that_read_one_volume_share_a_node_and_roll_there(
    control_plane: Cluster, cpu_nodes: list[str], namespace: str
) -> None:
    assert len(roll_out(control_plane, namespace, deployment("spread", None))) > 1, "as pods are placed otherwise"
    reader = deployment("reader", "weights")
    first = roll_out(control_plane, namespace, reader)
    assert len(first) == 1
    reader["spec"]["template"]["metadata"]["annotations"] = {"revision": "2"}
    assert roll_out(control_plane, namespace, reader) == first
    assert roll_out(control_plane, namespace, deployment("other", "weights")) == first, "another service, one claim"
