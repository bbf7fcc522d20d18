"""A cluster that is up: what a person or a test does with it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_cluster import binaries, kwok
from hearth_cluster.errors import ClusterError
from hearth_cluster.fakenodes import NodeGroup, fate, node_objects
from hearth_cluster.kubectl import kubectl
from hearth_cluster.processes import Supervisor
from hearth_cluster.state import ClusterState


@dataclass(frozen=True)
class Cluster:
    """A handle on a cluster that is up."""

    state: ClusterState

    @property
    def name(self) -> str:
        return self.state.name

    @property
    def kubeconfig(self) -> Path:
        return self.state.kubeconfig

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs kubectl as the cluster's administrator and returns what it printed.

        Raises:
            ClusterError: kubectl failed; its error text is in the message.
        """
        return kubectl(self.kubeconfig, *arguments, stdin=stdin)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Server-side apply of some objects."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def await_definitions(self, *names: str, seconds: float = 60.0) -> None:
        """Waits until the API server serves these CustomResourceDefinitions, or all that there are.

        `kubectl wait --for=condition=Established` fails where a definition is so new that its conditions are null.

        Raises:
            ClusterError: some are not established in time.
        """
        deadline = time.monotonic() + seconds
        while missing := [d["metadata"]["name"] for d in self._definitions(names) if not _is_established(d)]:
            if time.monotonic() > deadline:
                raise ClusterError(f"not established within {seconds:.0f} s: {', '.join(missing)}")
            time.sleep(0.2)

    def _definitions(self, names: Sequence[str]) -> list[dict[str, Any]]:
        found = self.get("customresourcedefinitions", *names)
        items: list[dict[str, Any]] = found["items"] if found["kind"] == "List" else [found]
        return items

    def fake_nodes(self, groups: Sequence[NodeGroup], *, jobs_succeed: bool = False) -> list[str]:
        """Adds fake nodes with kwok as their kubelet and waits until they are Ready. Returns their names.

        Pods of Jobs run until the annotation `kwok.hearth.dev/exit-code` ends them, or succeed at once with
        `jobs_succeed`, which holds for the whole cluster.
        """
        stages = kwok.write_stages(self.state.folder, jobs_succeed=jobs_succeed)
        Supervisor(self.state.folder).ensure(kwok.component(binaries.tools(["kwok"]), self.kubeconfig, stages))
        nodes = node_objects(groups)
        names = [node["metadata"]["name"] for node in nodes]
        # Created, not applied: the API server keeps a node's status only when the node is created.
        self.kubectl("delete", "node", "--ignore-not-found", *names)
        self.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes}))
        self.kubectl("wait", "--for=condition=Ready", "--timeout=60s", "node", *names)
        return names

    def end_pod(self, namespace: str, pod: str, *, exit_code: int = 0, message: str = "", reason: str = "") -> None:
        """Lets a running pod on a fake node end with an exit code, a termination message and a reason."""
        words = [f"{key}={value}" for key, value in fate(exit_code, message, reason).items()]
        # One update: were the exit code to come first, the pod would end without its message.
        self.kubectl("annotate", "--overwrite", "pod", pod, "--namespace", namespace, *words)


def _is_established(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
