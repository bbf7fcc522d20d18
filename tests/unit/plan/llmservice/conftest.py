"""A namespace with one LLMService, in which plans are carried out as the operator and Kubernetes would."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339
from hearth.plan.llmservice import KIND_PLAN
from hearth.plan.settings import Images, Settings
from hearth.plan.world import Apply, Delete, ObjectKey, Plan, World
from seen_worlds import planned

SETTINGS = Settings(
    images=Images(
        trainer="trainer",
        indexer="indexer",
        gateway="gateway",
        vllm="vllm-gpu",
        vllm_cpu="vllm-cpu",
        milvus="milvus",
        milvus_lite="milvus-lite",
    )
)
FACTS: dict[str, Any] = {
    "architecture": "LlamaForCausalLM",
    "modelType": "llama",
    "parameters": 134_515_008,
    "weightBytes": 269_030_016,
    "dtype": "bfloat16",
    "hiddenSize": 576,
    "layers": 30,
    "attentionHeads": 9,
    "keyValueHeads": 3,
    "headDim": 64,
    "intermediateSize": 1536,
    "vocabularySize": 49152,
    "maxPositionEmbeddings": 8192,
    "chatTemplate": True,
    "digest": "sha256:" + "1" * 64,
}
NODE: dict[str, Any] = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "16Gi"}}}


class Namespace:
    """Plans are applied to `children`; the test plays the Kubernetes controllers."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
        self.owner: dict[str, Any] = {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": "court", "namespace": "law", "generation": 1, "uid": "u"},
            "spec": spec,
            "status": {"observedGeneration": -1},
        }
        self.children: dict[tuple[str, str], dict[str, Any]] = {}
        self.pods: list[dict[str, Any]] = []
        self.replica_sets: list[dict[str, Any]] = []
        self.others: dict[tuple[str, str], dict[str, Any]] = {}
        self.nodes: list[dict[str, Any]] = [NODE]
        self.events: list[str] = []
        self.child_writes = 0
        self.status_writes = 0

    def reconcile(self) -> Plan:
        """Plans once, and carries it out."""
        keys = KIND_PLAN.needs(self.owner)
        related: dict[ObjectKey, Any] = {k: self.others.get((k.kind, k.name)) for k in keys}
        world = World(
            owner=self.owner,
            settings=SETTINGS,
            children=tuple(self.children.values()),
            pods=tuple(self.pods),
            replica_sets=tuple(self.replica_sets),
            related=related,
            nodes=tuple(self.nodes),
        )
        made = planned(KIND_PLAN.plan, world, self.now)
        for action in made.actions:
            if isinstance(action, Apply):
                self._apply(action.obj)
            elif isinstance(action, Delete):
                del self.children[(action.key.kind, action.key.name)]
                self.child_writes += 1
        if made.status != self.owner["status"]:
            self.owner["status"] = made.status
            self.status_writes += 1
        self.events += [e.reason for e in made.events]
        return made

    def _apply(self, obj: dict[str, Any]) -> None:
        obj = json.loads(json.dumps(obj))
        key = (obj["kind"], obj["metadata"]["name"])
        live = self.children.get(key)
        if live is not None and all(live.get(k) == v for k, v in obj.items() if k != "metadata"):
            return
        self.child_writes += 1
        generation = live["metadata"]["generation"] + 1 if live else 1
        obj["metadata"] |= {"namespace": "law", "generation": generation, "uid": f"{key}"}
        obj["metadata"]["creationTimestamp"] = live["metadata"]["creationTimestamp"] if live else rfc3339(self.now)
        if live is not None and "status" in live:
            obj["status"] = live["status"]
        self.children[key] = obj

    def edit(self, **fields: Any) -> None:
        """A user changes the spec."""
        self.owner["spec"] = {k: v for k, v in (self.owner["spec"] | fields).items() if v is not None}
        self.owner["metadata"]["generation"] += 1

    def pass_time(self, seconds: float) -> None:
        """Time goes by."""
        self.now += timedelta(seconds=seconds)

    def finish_inspection(self, result: dict[str, Any] | None = None, code: int = 0) -> None:
        """The inspection pod of the newest Job ends."""
        name = [n for kind, n in self.children if kind == "Job"][-1]
        ended = {"exitCode": code, "message": json.dumps(result or {"facts": FACTS})}
        self.pods.append(
            {
                "metadata": {
                    "name": name,
                    "labels": {"batch.kubernetes.io/job-name": name, "hearth.dev/component": "inspect"},
                    "creationTimestamp": rfc3339(self.now),
                },
                "status": {"containerStatuses": [{"name": "inspect", "state": {"terminated": ended}}]},
            }
        )
        kind = "Failed" if code else "Complete"
        self.children[("Job", name)]["status"] = {"conditions": [{"type": kind, "status": "True"}]}

    def forget_jobs(self) -> None:
        """The TTL controller takes finished Jobs away."""
        self.children = {k: v for k, v in self.children.items() if k[0] != "Job"}
        self.pods = [p for p in self.pods if p["metadata"]["labels"]["hearth.dev/component"] != "inspect"]

    def roll_out(self) -> None:
        """The Deployment controller and the kubelet bring every pod of every Deployment up."""
        self.pods = [p for p in self.pods if p["metadata"]["labels"]["hearth.dev/component"] == "inspect"]
        for (kind, name), obj in self.children.items():
            if kind == "Deployment":
                wanted = obj["spec"]["replicas"]
                self._report(name, updated=wanted, available=wanted, total=wanted)
                self.pods += [self.pod(name, i) for i in range(wanted)]

    def _report(self, name: str, *, updated: int, available: int, total: int) -> None:
        obj = self.children[("Deployment", name)]
        obj["status"] = {
            "observedGeneration": obj["metadata"]["generation"],
            "replicas": total,
            "updatedReplicas": updated,
            "availableReplicas": available,
        }

    def pod(self, deployment: str, number: int, **status: Any) -> dict[str, Any]:
        """A pod of a Deployment, running unless told otherwise."""
        template = self.children[("Deployment", deployment)]["spec"]["template"]
        return {
            "metadata": {
                "name": f"{deployment}-{number}",
                "labels": template["metadata"]["labels"],
                "creationTimestamp": rfc3339(self.now),
            },
            "spec": {"nodeName": "n"},
            "status": {"containerStatuses": [{"name": "engine", "ready": True, "state": {"running": {}}}], **status},
        }

    def break_new_pod(self, **status: Any) -> None:
        """The newest engine pod is in trouble while the others (if any) go on."""
        obj = self.children[("Deployment", "court-engine")]
        old = obj.get("status", {}).get("availableReplicas", 0)
        self._report("court-engine", updated=1, available=old, total=old + 1)
        self.pods.append(self.pod("court-engine", 99, **status))

    def observe(self, deployment: str = "court-engine", *, updated: int = 0) -> None:
        """The Deployment controller sees the newest template: a ReplicaSet, and that many pods of it beside the old."""
        obj = self.children[("Deployment", deployment)]
        number, uid = len(self.replica_sets) + 1, obj["metadata"]["uid"]
        controller = {"kind": "Deployment", "name": deployment, "uid": uid, "controller": True}
        meta = {"name": f"{deployment}-{number}", "uid": f"set-{number}", "ownerReferences": [controller]}
        meta["annotations"] = {"deployment.kubernetes.io/revision": str(number)}
        self.replica_sets.append({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta})
        old = obj.get("status", {}).get("availableReplicas", 0)
        self._report(deployment, updated=updated, available=old, total=old + updated)

    def adopt(self, pod: dict[str, Any], replica_set: int) -> dict[str, Any]:
        """The pod as one of this ReplicaSet's."""
        pod["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "uid": f"set-{replica_set}", "controller": True}]
        return pod

    def serve(self) -> None:
        """From nothing to Ready."""
        self.reconcile()
        if any(kind == "Job" for kind, _ in self.children):
            self.finish_inspection()
        self.reconcile()
        self.roll_out()
        self.reconcile()
        self.pass_time(200)
        self.forget_jobs()
        assert self.condition("Ready")["reason"] == "Serving"

    def condition(self, kind: str) -> dict[str, Any]:
        """One of the conditions on record."""
        found: dict[str, Any] = next(c for c in self.owner["status"]["conditions"] if c["type"] == kind)
        return found

    def deployment(self) -> dict[str, Any]:
        """The engine's Deployment."""
        return self.children[("Deployment", "court-engine")]

    def gateway_config(self) -> dict[str, Any]:
        """The ConfigMap that pods of the gateway's newest revision read."""
        pod = self.children[("Deployment", "court-gateway")]["spec"]["template"]["spec"]
        named = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config")
        return self.children[("ConfigMap", named)]


@pytest.fixture
def generate() -> Namespace:
    return Namespace({"task": "Generate", "replicas": 1, "model": {"uri": "oci://models/smollm2"}})


@pytest.fixture
def embed() -> Namespace:
    return Namespace({"task": "Embed", "replicas": 1, "model": {"uri": "oci://models/minilm"}})


@pytest.fixture
def tuned() -> Namespace:
    return Namespace({"task": "Generate", "replicas": 1, "model": {"fromFineTune": {"name": "extractor"}}})


def fine_tune_job(**status: Any) -> dict[str, Any]:
    """A FineTuneJob that succeeded and passed its gate, unless told otherwise."""
    done = {
        "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded"}],
        "gate": {"passed": True, "reason": "JSONFieldF1 0.97"},
        "resolved": {"model": FACTS | {"source": "oci://models/smollm2"}},
        "artifacts": [
            {"kind": "Adapter", "uri": "pvc://extractor-artifacts/artifacts/adapter-2", "digest": "sha256:" + "2" * 64},
            {"kind": "Merged", "uri": "pvc://extractor-artifacts/artifacts/merged-3", "digest": "sha256:" + "3" * 64},
        ],
    }
    return {"kind": "FineTuneJob", "metadata": {"name": "extractor"}, "status": done | status}


@pytest.fixture
def job() -> Any:
    return fine_tune_job


@pytest.fixture
def facts() -> dict[str, Any]:
    return dict(FACTS)
