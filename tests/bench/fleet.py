"""A control plane whose pods kwok plays, and many LLMServices in it."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hearth_cluster.cluster import Cluster
from hearth_cluster.fakenodes import parse_groups
from hearth_cluster.scripted_pods import script_end
from kind_results import FACTS
from report import ROOT

NAMESPACE = "bench"

IMAGES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
CHILDREN = ("configmaps", "services", "deployments.apps", "poddisruptionbudgets.policy", "jobs.batch")
BATCH = 250


def until(check: Callable[[], object], what: str, seconds: float, pause: float) -> None:
    """Waits until `check` is truthy.

    Raises TimeoutError, saying what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)


class Fleet:
    """The services and everything that is made for them."""

    def __init__(self, cluster: Cluster, count: int, task: str) -> None:
        self.cluster, self.count, self.task = cluster, count, task

    def prepare(self, folder: Path) -> Path:
        """Definitions, nodes, and the result of every inspection; returns the operator's settings file."""
        self.cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        for namespace in (NAMESPACE, "hearth-system"):
            self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        self.cluster.kubectl("wait", "--for=create", "--timeout=30s", "-n", NAMESPACE, "serviceaccount/default")
        nodes = max(2, self.count * 3 // 800)
        self.cluster.fake_nodes(parse_groups(f'nodes: [{{count: {nodes}, cpu: "8000", memory: 32Ti}}]'))
        script_end(
            self.cluster, "inspections", {"hearth.dev/component": "inspect"}, message=json.dumps({"facts": FACTS})
        )
        settings = folder / "settings.yaml"
        settings.write_text(yaml.safe_dump({"images": {name: f"images.example/{name}:1" for name in IMAGES}}))
        return settings

    def create(self) -> None:
        """All services at once, as fast as kubectl goes."""
        services = [self._service(number) for number in range(self.count)]
        for start in range(0, self.count, BATCH):
            items = services[start : start + BATCH]
            self.cluster.kubectl(
                "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            )

    def _service(self, number: int) -> dict[str, Any]:
        return {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": f"s{number:05d}", "namespace": NAMESPACE},
            "spec": {
                "task": self.task,
                "model": {"uri": "oci://models.example/smollm2-135m-instruct:1"},
                "accelerator": {"count": 0},
            },
        }

    def ready(self) -> int:
        """How many services are Ready, from the server's own short table."""
        text = self.cluster.kubectl("get", "llmservices", "-n", NAMESPACE, "--no-headers")
        return sum(1 for line in text.splitlines() if re.search(r"\bTrue\b", line))

    def children(self) -> dict[str, int]:
        """How many objects of each kind the operator made that still exist."""
        names = self.cluster.kubectl(
            "get", ",".join(CHILDREN), "-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=hearth", "-o", "name"
        )
        return dict(Counter(line.partition("/")[0] for line in names.splitlines()))

    def serving_pods(self) -> dict[str, str]:
        """Engine and gateway pods: name to uid and restarts, so that another pod or a restart shows."""
        text = self.cluster.kubectl(
            "get", "pods", "-n", NAMESPACE, "-l", "hearth.dev/component in (engine,gateway)", "-o",
            'jsonpath={range .items[*]}{.metadata.name}{" "}{.metadata.uid}/'
            '{.status.containerStatuses[*].restartCount}{"\\n"}{end}',
        )  # fmt: skip
        return dict(line.split(" ", 1) for line in text.splitlines())

    def versions(self) -> dict[str, str]:
        """resourceVersions of the services and their Deployments: the API server's own word on who wrote."""
        text = self.cluster.kubectl(
            "get", "llmservices.hearth.dev,deployments.apps", "-n", NAMESPACE, "-o",
            'jsonpath={range .items[*]}{.kind}/{.metadata.name}{" "}{.metadata.resourceVersion}{"\\n"}{end}',
        )  # fmt: skip
        return dict(line.split(" ", 1) for line in text.splitlines())

    def applies(self) -> int:
        """Server-side applies that the API server itself has counted, kubectl's included."""
        metrics = self.cluster.kubectl("get", "--raw", "/metrics")
        found = re.findall(r'^apiserver_request_total\{[^}]*verb="APPLY"[^}]*\} (\S+)$', metrics, re.MULTILINE)
        return int(sum(float(value) for value in found))
