"""GPUs that the real node claims to have: scarcity with real pods on a machine without any."""

from __future__ import annotations

import json
from typing import Any

from hearth_cluster.cluster import Cluster
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import FAKE, GPU_MODELS, gpu_labels

RESOURCE = "nvidia.com/gpu"


def advertise(cluster: Cluster, count: int, product: str | None = None) -> str:
    """Lets the real node offer `count` GPUs, with the labels of a product if one is named. Returns the node's name.

    The kubelet keeps what the API says of a resource that no device plugin manages, so pods that ask for these GPUs
    are admitted and run; they see no device. Zero takes GPUs and labels away again.

    Raises:
        ClusterError: no such product, or no real node.
    """
    if product is not None and product not in GPU_MODELS:
        raise ClusterError(f"product {product!r} is unknown; known: {', '.join(GPU_MODELS)}")
    node = real_node(cluster.get("nodes")["items"])
    name, capacity = node["metadata"]["name"], node["status"].get("capacity", {})
    if patch := capacity_patch(count, present=RESOURCE in capacity):
        words = ["patch", "node", name, "--subresource=status", "--type=json", "-p", json.dumps(patch)]
        cluster.kubectl(*words)
    labels = label_patch(count, product, node["metadata"].get("labels", {}))
    cluster.kubectl("patch", "node", name, "--type=merge", "-p", json.dumps({"metadata": {"labels": labels}}))
    return str(name)


def real_node(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The one node with a kubelet of its own."""
    real = [node for node in nodes if node["metadata"].get("annotations", {}).get(FAKE) != "fake"]
    if not real:
        raise ClusterError("the cluster has no real node; bring one up with the profile `node`, or add fake nodes")
    return real[0]


def capacity_patch(count: int, *, present: bool) -> list[dict[str, Any]]:
    """JSON patch of a node's status; allocatable too, so that nobody waits for the kubelet's next turn."""
    if count == 0 and not present:
        return []
    key = RESOURCE.replace("/", "~1")
    paths = [f"/status/{field}/{key}" for field in ("capacity", "allocatable")]
    if count == 0:
        return [{"op": "remove", "path": path} for path in paths]
    return [{"op": "add", "path": path, "value": str(count)} for path in paths]


def label_patch(count: int, product: str | None, current: dict[str, str]) -> dict[str, str | None]:
    """Labels to set, and those of an earlier product to take away (None)."""
    wanted = gpu_labels(product, count) if product is not None and count > 0 else {}
    stale = {key: None for key in current if key.startswith("nvidia.com/") and key not in wanted}
    return {**stale, **wanted}
