"""Ends a pod on a fake node the way a kubelet would report it: per container, init containers too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hearth_cluster.cluster import Cluster

MOMENT = "2026-11-24T12:00:00Z"


def end(cluster: Cluster, namespace: str, pod: str, told: Mapping[str, Any], *, exit_code: int = 0) -> None:
    """`told` maps a container's name to the JSON that it left in its termination log."""
    live = cluster.get("pod", pod, "-n", namespace)

    def ended(container: dict[str, Any], code: int) -> dict[str, Any]:
        name = container["name"]
        state = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
        state |= {"startedAt": MOMENT, "finishedAt": MOMENT}
        if name in told:
            state["message"] = json.dumps(told[name])
        facts = {"name": name, "image": container["image"], "imageID": "", "ready": False, "restartCount": 0}
        return {**facts, "state": {"terminated": state}}

    spec = live["spec"]
    status = {
        "phase": "Succeeded" if exit_code == 0 else "Failed",
        "initContainerStatuses": [ended(c, 0) for c in spec.get("initContainers", [])],
        "containerStatuses": [ended(c, exit_code) for c in spec["containers"]],
    }
    patch = json.dumps({"status": status})
    cluster.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
