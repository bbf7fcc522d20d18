"""A namespace with one FineTuneJob, in which plans are carried out as the operator and Kubernetes would."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hearth.plan.conditions import rfc3339
from hearth.plan.finetunejob import KIND_PLAN
from hearth.plan.settings import Images, Settings
from hearth.plan.world import Apply, Delete, ObjectKey, Plan, World
from seen_worlds import planned

SETTINGS = Settings(
    images=Images(
        trainer="trainer@sha256:1",
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
ROWS: dict[str, Any] = {
    "format": "Chat",
    "digest": "sha256:" + "2" * 64,
    "trainRows": 100,
    "evalRows": 10,
    "trainTokens": 20_000,
    "longestRow": 250,
    "longestTarget": 90,
    "findings": [{"check": "duplicates", "count": 2, "lines": ["train.jsonl:4", "train.jsonl:9"]}],
}
OUTCOME: dict[str, Any] = {
    "step": 21,
    "totalSteps": 21,
    "loss": "0.0312",
    "tokensPerSecond": "310.5",
    "evaluation": [
        {"subject": "base", "metric": "JSONFieldF1", "value": "0.0100"},
        {"subject": "tuned", "metric": "JSONFieldF1", "value": "0.9300"},
    ],
    "gate": {"passed": True, "reason": "JSONFieldF1 0.9300 is at least 0.8"},
    "artifacts": [
        {"kind": "Adapter", "path": "artifacts/adapter-aa", "digest": "sha256:" + "a" * 64, "size": 10},
        {"kind": "Merged", "path": "artifacts/merged-bb", "digest": "sha256:" + "b" * 64, "size": 270_000_000},
    ],
    "libraries": {"torch": "2.13.0"},
    "peakMemory": 2_000_000_000,
}
CPU_NODE: dict[str, Any] = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "2", "memory": "16Gi"}}}
L4_NODE: dict[str, Any] = {
    "metadata": {"name": "g", "labels": {"nvidia.com/gpu.memory": "23034", "nvidia.com/gpu.product": "NVIDIA-L4"}},
    "status": {"allocatable": {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": "1"}},
}
SPEC: dict[str, Any] = {
    "model": {"uri": "oci://models/smollm2"},
    "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
    "accelerator": {"count": 0},
    "evaluation": {"metrics": ["JSONFieldF1"], "gate": {"metric": "JSONFieldF1", "atLeast": "0.8"}},
}


class Namespace:
    """Plans are applied to `children`; the test plays the Kubernetes controllers."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
        self.owner: dict[str, Any] = {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "FineTuneJob",
            "metadata": {"name": "court", "namespace": "law", "generation": 1, "uid": "u"},
            "spec": spec,
            "status": {"observedGeneration": -1},
        }
        self.owner["metadata"]["creationTimestamp"] = rfc3339(self.now)
        self.children: dict[tuple[str, str], dict[str, Any]] = {}
        self.ownerless: set[tuple[str, str]] = set()
        self.pods: list[dict[str, Any]] = []
        self.others: dict[tuple[str, str], dict[str, Any]] = {}
        self.nodes: list[dict[str, Any]] = [CPU_NODE]
        self.dependents: list[dict[str, Any]] = []
        self.progress: dict[str, Any] | None = None
        self.settings = SETTINGS
        self.events: list[str] = []
        self.writes = 0
        self.status_writes = 0
        self.provide_rows()

    def provide_rows(self, text: str = '{"messages": []}') -> None:
        """A user creates or edits the ConfigMap with the rows."""
        self.others[("ConfigMap", "rows")] = {"metadata": {"name": "rows"}, "data": {"train.jsonl": text}}

    def add_gpu_node(self) -> None:
        """A node with an L4 joins."""
        self.nodes = [*self.nodes, L4_NODE]

    def upgrade(self) -> None:
        """Another operator takes over, with another trainer image and another certificate."""
        images = self.settings.images.model_copy(update={"trainer": "trainer@sha256:2"})
        self.settings = self.settings.model_copy(update={"images": images, "progress_ca": "NEW PEM"})

    def config(self, key: str) -> str:
        """A part of the configuration that the pods read."""
        return str(self.children[("ConfigMap", "court-train")]["data"][key])

    def reconcile(self) -> Plan:
        """Plans once, and carries it out."""
        related: dict[ObjectKey, Any] = {
            k: self.others.get((k.kind, k.name)) or self.children.get((k.kind, k.name))
            for k in KIND_PLAN.needs(self.owner)
        }
        world = World(
            owner=self.owner,
            settings=self.settings,
            children=tuple(c for k, c in self.children.items() if k not in self.ownerless),
            pods=tuple(self.pods),
            related=related,
            dependents=tuple(self.dependents),
            nodes=tuple(self.nodes),
            storage_classes=tuple(obj for (kind, _), obj in self.others.items() if kind == "StorageClass"),
            progress=self.progress,
        )
        made = planned(KIND_PLAN.plan, world, self.now)
        for action in made.actions:
            if isinstance(action, Apply):
                self._apply(action)
            elif isinstance(action, Delete):
                self._delete(action)
        if made.status != self.owner["status"]:
            self.owner["status"] = json.loads(json.dumps(made.status))
            self.status_writes += 1
        self.events += [e.reason for e in made.events]
        return made

    def _apply(self, action: Apply) -> None:
        obj = json.loads(json.dumps(action.obj))
        key = (obj["kind"], obj["metadata"]["name"])
        live = self.children.get(key)
        if live is not None and "volumeName" in live.get("spec", {}):
            obj["spec"]["volumeName"] = live["spec"]["volumeName"]  # a binding is not ours to take off
        if action.owned:
            self.ownerless.discard(key)
        else:
            self.ownerless.add(key)
        if live is not None and all(live.get(k) == v for k, v in obj.items() if k != "metadata"):
            return
        self.writes += 1
        obj["metadata"] |= {"namespace": "law", "uid": f"{key}", "creationTimestamp": rfc3339(self.now)}
        self.children[key] = obj

    def _delete(self, action: Delete) -> None:
        key = (action.key.kind, action.key.name)
        self.writes += 1
        if action.propagation == "Foreground" and any(self._alive(p, key[1]) for p in self.pods):
            self.children[key]["metadata"]["deletionTimestamp"] = rfc3339(self.now)
            return
        del self.children[key]

    @staticmethod
    def _alive(pod: dict[str, Any], job: str) -> bool:
        mine = pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job
        return mine and pod["status"].get("phase") == "Running"

    def edit(self, **fields: Any) -> None:
        """A user changes the spec."""
        self.owner["spec"] = {k: v for k, v in (self.owner["spec"] | fields).items() if v is not None}
        self.owner["metadata"]["generation"] += 1

    def pass_time(self, seconds: float) -> None:
        """Time goes by."""
        self.now += timedelta(seconds=seconds)

    def job(self, part: str) -> dict[str, Any] | None:
        """The live Job of a part, prepare or train."""
        found = [c for (kind, name), c in self.children.items() if kind == "Job" and f"-{part}-" in name]
        return found[-1] if found else None

    def pod(self, part: str, **status: Any) -> dict[str, Any]:
        """A new pod of the part's Job."""
        job = self.job(part)
        assert job is not None
        name = job["metadata"]["name"]
        made = {
            "metadata": {
                "name": f"{name}-{len(self.pods)}",
                "labels": {"batch.kubernetes.io/job-name": name, "hearth.dev/component": part},
                "namespace": "law",
                "creationTimestamp": rfc3339(self.now + timedelta(milliseconds=len(self.pods))),
            },
            "spec": job["spec"]["template"]["spec"],
            "status": status,
        }
        self.pods.append(made)
        return made

    def end(
        self, part: str, code: int = 0, told: dict[str, Any] | None = None, reason: str = "Error"
    ) -> dict[str, Any]:
        """A pod of the part ends with an exit code and a termination message."""
        ended = {"exitCode": code, "reason": "Completed" if code == 0 else reason}
        if told is not None:
            ended["message"] = json.dumps(told)
        phase = "Succeeded" if code == 0 else "Failed"
        statuses = [{"name": part, "state": {"terminated": ended}}]
        return self.pod(part, phase=phase, containerStatuses=statuses)

    def conclude(self, part: str, kind: str) -> None:
        """The Job controller sets a final condition."""
        job = self.job(part)
        assert job is not None
        job["status"] = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": rfc3339(self.now)}]}

    def fail(self, part: str, code: int, kind: str, message: str, suggestion: str = "do this") -> None:
        """The container leaves an error and ends, and its Job with it."""
        self.end(part, code=code, told={"error": {"class": kind, "message": message, "suggestion": suggestion}})
        self.conclude(part, "Failed")
        self.pass_time(11)
        self.reconcile()

    def prepare(self, rows: dict[str, Any] | None = None, **read: Any) -> None:
        """Model and rows are read and found good."""
        pod = self.end("prepare", told={"result": ROWS | (rows or {})})
        facts = {"exitCode": 0, "message": json.dumps({"facts": FACTS | read})}
        pod["status"]["initContainerStatuses"] = [{"name": "inspect", "state": {"terminated": facts}}]
        self.conclude("prepare", "Complete")

    def start(self) -> None:
        """Up to a training Job."""
        self.reconcile()
        self.prepare()
        self.pass_time(11)
        self.reconcile()
        assert self.job("train") is not None

    def run(self) -> None:
        """Up to a running training pod."""
        self.start()
        running = {"running": {"startedAt": rfc3339(self.now)}}
        self.pod("train", phase="Running", containerStatuses=[{"name": "train", "state": running}])
        self.pass_time(11)
        self.reconcile()

    def complete(self, **changed: Any) -> None:
        """From a running pod to the end, which the operator has not seen yet."""
        self.pods = [p for p in self.pods if p["status"].get("phase") != "Running"]
        self.end("train", told={"result": OUTCOME | changed})
        self.conclude("train", "Complete")

    def finish(self, **changed: Any) -> None:
        """From a running pod to the end."""
        self.complete(**changed)
        self.pass_time(11)
        self.reconcile()

    def size_of_claim(self) -> str:
        """What the claim of the job's volume asks for."""
        claim = self.children[("PersistentVolumeClaim", "court-artifacts")]
        return str(claim["spec"]["resources"]["requests"]["storage"])

    def condition(self, kind: str) -> dict[str, Any]:
        """One of the conditions on record."""
        found: dict[str, Any] = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found

    @property
    def status(self) -> dict[str, Any]:
        """The status on record."""
        found: dict[str, Any] = self.owner["status"]
        return found


@pytest.fixture
def spec() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(SPEC))
    return found


@pytest.fixture
def law(spec: dict[str, Any]) -> Namespace:
    return Namespace(spec)
