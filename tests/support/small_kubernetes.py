"""What Kubernetes makes of our children, in a few lines: controllers, a scheduler with one large node, a kubelet."""

import hashlib
import json
from collections.abc import Callable, Mapping

from fake_api import FakeApi
from hearth.api.base import Json
from hearth.plan.world import ObjectKey

NODE: Json = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n"},
    "status": {"allocatable": {"cpu": "64", "memory": "512Gi"}},
}
RUNNING: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


class SmallKubernetes:
    """Acts on the objects of a `FakeApi` when told to.

    `results` says what a Job's container leaves, by component: always the same, or what a function makes of the Job.
    """

    def __init__(
        self,
        api: FakeApi,
        results: Mapping[str, Json | Callable[[Json], Json]],
        init_results: dict[str, Json] | None = None,
    ) -> None:
        self.api, self.results, self.init_results = api, results, init_results or {}

    def act(self) -> None:
        """Every controller once."""
        for key in sorted(self.api.objects):
            if key not in self.api.objects:
                continue
            match key.kind:
                case "Deployment":
                    self._deployment(key)
                case "StatefulSet":
                    self._stateful_set(key)
                case "Job":
                    self._job(key)
                case "PersistentVolumeClaim":
                    self._claim(key)

    def finish_jobs(self, code: int = 0, error: Json | None = None) -> None:
        """Every running pod of a Job ends: with its result, or with an exit code and an error."""
        for key in self._of_kind("Job"):
            pod = ObjectKey("Pod", key.namespace, f"{key.name}-x")
            if pod in self.api.objects and self.api.live(pod)["status"]["phase"] == "Running":
                self._end(key, pod, code, error)

    def forget_jobs(self) -> None:
        """The TTL controller takes finished Jobs away, and their pods with them."""
        for key in self._of_kind("Job"):
            if self.api.live(key).get("status", {}).get("conditions"):
                self.api.remove(key)

    def _of_kind(self, kind: str) -> list[ObjectKey]:
        return sorted(key for key in self.api.objects if key.kind == kind)

    def _deployment(self, key: ObjectKey) -> None:
        live = self.api.live(key)
        template = live["spec"]["template"]
        revision = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:8]
        current = ObjectKey("ReplicaSet", key.namespace, f"{key.name}-{revision}")
        for other in self._of_kind("ReplicaSet"):
            owner = self.api.live(other)["metadata"]["ownerReferences"][0]["uid"]
            if owner == live["metadata"]["uid"] and other != current:
                self.api.remove(other)
        if current not in self.api.objects:
            self._make(current, live, template["metadata"]["labels"], {})
        wanted = live["spec"].get("replicas", 1)
        self._pods(self.api.live(current), template, wanted)
        status = {
            "observedGeneration": live["metadata"]["generation"],
            **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted),
        }
        self.api.edit(key, lambda obj: obj.update(status=status))

    def _stateful_set(self, key: ObjectKey) -> None:
        live = self.api.live(key)
        wanted = live["spec"].get("replicas", 1)
        for claim in live["spec"].get("volumeClaimTemplates", ()):
            name = ObjectKey("PersistentVolumeClaim", key.namespace, f"{claim['metadata']['name']}-{key.name}-0")
            if wanted and name not in self.api.objects:
                labels = claim["metadata"].get("labels", {})
                self._make(name, None, labels, {"spec": claim["spec"], "apiVersion": "v1"})
        self._pods(live, live["spec"]["template"], wanted, separator="-")
        status = {
            "observedGeneration": live["metadata"]["generation"],
            "currentRevision": "1",
            "updateRevision": "1",
            **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), wanted),
            "currentReplicas": wanted,
        }
        self.api.edit(key, lambda obj: obj.update(status=status))

    def _job(self, key: ObjectKey) -> None:
        live = self.api.live(key)
        pod = ObjectKey("Pod", key.namespace, f"{key.name}-x")
        if pod in self.api.objects or live["spec"].get("suspend") or live.get("status", {}).get("conditions"):
            return
        template = live["spec"]["template"]
        labels = template["metadata"]["labels"] | {"batch.kubernetes.io/job-name": key.name}
        self._make(pod, live, labels, {"spec": {**template["spec"], "nodeName": "n"}, "status": _running(template)})

    def _claim(self, key: ObjectKey) -> None:
        asked = self.api.live(key)["spec"]["resources"]["requests"]
        self.api.edit(key, lambda obj: obj.update(status={"phase": "Bound", "capacity": asked}))

    def _pods(self, owner: Json, template: Json, wanted: int, separator: str = "-p") -> None:
        meta = owner["metadata"]
        for number in range(10):
            pod = ObjectKey("Pod", meta["namespace"], f"{meta['name']}{separator}{number}")
            if number < wanted and pod not in self.api.objects:
                made = {"spec": {**template["spec"], "nodeName": "n"}, "status": _running(template)}
                self._make(pod, owner, template["metadata"]["labels"], made)
            elif number >= wanted and pod in self.api.objects:
                self.api.remove(pod)

    def _end(self, job: ObjectKey, pod: ObjectKey, code: int, error: Json | None) -> None:
        component = self.api.live(pod)["metadata"]["labels"]["hearth.dev/component"]
        left = self.results[component]
        told = {"error": error} if error else left(self.api.live(job)) if callable(left) else left
        status = self.api.live(pod)["status"]
        ended = {"exitCode": code, "reason": "Error" if code else "Completed", "message": json.dumps(told)}
        for container in status["containerStatuses"]:
            container["state"] = {"terminated": ended}
        for container in status.get("initContainerStatuses", ()):
            message = json.dumps(self.init_results.get(container["name"], {}))
            container["state"] = {"terminated": {"exitCode": 0, "message": message}}
        status["phase"] = "Failed" if code else "Succeeded"
        self.api.edit(pod, lambda obj: obj.update(status=status))
        condition = {
            "type": "Failed" if code else "Complete",
            "status": "True",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
        self.api.edit(job, lambda obj: obj.update(status={"conditions": [condition]}))

    def _make(self, key: ObjectKey, owner: Json | None, labels: Json, fields: Json) -> None:
        meta: Json = {"name": key.name, "namespace": key.namespace, "labels": dict(labels)}
        if owner is not None:
            reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"]}
            meta["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"], "controller": True}]
        self.api.put({"apiVersion": "v1", "kind": key.kind, **fields, "metadata": meta})


def _running(template: Json) -> Json:
    spec = template["spec"]
    ready = {"ready": True, "restartCount": 0, "state": RUNNING}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": c["name"], **ready} for c in spec["containers"]],
        "initContainerStatuses": [{"name": c["name"], **ready} for c in spec.get("initContainers", ())],
    }
