"""A small world around one VectorIndex that tests change step by step, as a cluster would."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hearth.api.base import Json
from hearth.plan.settings import Images, Settings
from hearth.plan.vectorindex import needs, plan
from hearth.plan.world import Apply, Delete, Plan, World
from seen_worlds import planned

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)

SETTINGS = Settings(
    images=Images(
        trainer="trainer", indexer="indexer", gateway="gateway", vllm="vllm", vllm_cpu="vllm-cpu", milvus="milvus",
        milvus_lite="milvus-lite",
    ),
    progress_ca="PEM",
)  # fmt: skip

RESULT: Json = {
    "documents": 52,
    "chunks": 130,
    "skippedCount": 1,
    "skipped": [{"uri": "configMap://handbook/a.docx", "reason": "unknown type"}],
    "alias": "handbook",
    "collection": "handbook_0123456789ab",
    "embeddings": [{"name": "text", "dimension": 384}],
    "recall": {"k": 10, "queries": 100, "measured": 0.992},
    "index": {"type": "HNSW", "params": {"M": 16, "efConstruction": 200}, "search": {"ef": 64}},
    "chunking": {"size": 128, "overlap": 16, "exactTokens": True},
    "capabilities": ["Dense"],
    "sparse": False,
    "engine": "v2.3.5-lite",
    "embeddedNow": 130,
    "reused": 0,
    "dropped": [],
}


def embedder(
    digest: str = "sha256:" + "a" * 64,
    ready: bool = True,
    task: str = "Embed",
    keys: str | None = None,
    served: str = "embedder",
) -> Json:
    """The LLMService that embeds; `keys` names the Secret of the API keys that it asks for."""
    return {
        "kind": "LLMService",
        "metadata": {"name": "embedder", "namespace": "team"},
        "spec": {"task": task} | ({"access": {"apiKeysSecretRef": {"name": keys}}} if keys else {}),
        "status": {
            "url": "http://embedder.team.svc.cluster.local:8000/v1",
            "model": {"uri": "oci://minilm", "digest": digest},
            "resolved": {"servedName": served},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def config_map(**data: str) -> Json:
    """The documents."""
    return {"kind": "ConfigMap", "metadata": {"name": "handbook", "namespace": "team"}, "data": data or {"a.md": "# A"}}


def storage_class(
    provisioner: str = "csi.hearth.dev", expansion: bool = True, name: str = "fast", default_since: str = ""
) -> Json:
    """The class of the volume."""
    meta: Json = {"name": name}
    if default_since:
        mark = {"storageclass.kubernetes.io/is-default-class": "true"}
        meta |= {"annotations": mark, "creationTimestamp": default_since}
    return {
        "kind": "StorageClass",
        "metadata": meta,
        "provisioner": provisioner,
        "allowVolumeExpansion": expansion,
    }


def claim(asked: str = "2Gi", capacity: str = "2Gi") -> Json:
    """The claim as the StatefulSet controller makes it."""
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-handbook-milvus-0", "namespace": "team", "uid": "claim-1"},
        "spec": {"resources": {"requests": {"storage": asked}}, "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": capacity}},
    }


@dataclass
class Scene:
    """The world, and what the operator has made of it so far."""

    spec: Json
    status: Json = field(default_factory=dict)
    annotations: Json = field(default_factory=dict)
    children: dict[tuple[str, str], Json] = field(default_factory=dict)
    pods: list[Json] = field(default_factory=list)
    around: dict[str, Json | None] = field(default_factory=dict)
    storage_classes: list[Json] = field(default_factory=list)
    progress: Json | None = None
    now: datetime = NOW
    generation: int = 1
    settings: Settings = SETTINGS

    def world(self) -> World:
        """What a plan sees."""
        owner = {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "VectorIndex",
            "metadata": {
                "name": "handbook", "namespace": "team", "uid": "uid-1", "generation": self.generation,
                "annotations": self.annotations,
            },
            "spec": self.spec,
            "status": self.status,
        }  # fmt: skip
        related = {key: self.around.get(key.kind) for key in needs(owner)}
        return World(
            owner=owner, settings=self.settings, children=tuple(self.children.values()), pods=tuple(self.pods),
            related=related, progress=self.progress, storage_classes=tuple(self.storage_classes),
        )  # fmt: skip

    def upgrade(self) -> None:
        """Another operator takes over, with another indexer image and another certificate."""
        images = self.settings.images.model_copy(update={"indexer": "indexer@sha256:2"})
        self.settings = self.settings.model_copy(update={"images": images, "progress_ca": "NEW PEM"})

    def decide(self) -> Plan:
        """The plan for the world as it is."""
        return planned(plan, self.world(), self.now)

    def act(self) -> Plan:
        """Decides, performs, and puts the status on record."""
        made = self.decide()
        for action in made.actions:
            if isinstance(action, Delete):
                del self.children[action.key.kind, action.key.name]
            elif action.owned:
                self._store(action)
        self.status = made.status
        return made

    def _store(self, action: Apply) -> None:
        meta = action.obj["metadata"]
        stamped = {**action.obj, "metadata": {**meta, "namespace": "team", "uid": f"uid-{meta['name']}"}}
        self.children[action.obj["kind"], meta["name"]] = stamped

    def engine_answers(self, size: str = "2Gi") -> None:
        """The StatefulSet's pod became ready on its volume."""
        labels = {"hearth.dev/component": "milvus"}
        conditions = [{"type": "Ready", "status": "True"}]
        self.pods = [
            {"metadata": {"name": "handbook-milvus-0", "labels": labels}, "status": {"conditions": conditions}}
        ]
        self.around.setdefault("PersistentVolumeClaim", claim(size, size))

    @property
    def job(self) -> Json:
        """The only indexing Job."""
        (found,) = [c for (kind, _), c in self.children.items() if kind == "Job"]
        return found

    def job_ends(self, message: Json, code: int = 0) -> None:
        """The Job's pod left its message; the Job is over."""
        how = "Complete" if code == 0 else "Failed"
        self.job["status"] = {
            "conditions": [{"type": how, "status": "True", "lastTransitionTime": "2026-11-24T12:00:00Z"}]
        }
        ended = {"exitCode": code, "message": json.dumps(message), "reason": "Completed" if code == 0 else "Error"}
        labels = {"batch.kubernetes.io/job-name": self.job["metadata"]["name"], "hearth.dev/component": "index"}
        self.pods.append(
            {
                "metadata": {"name": "p", "labels": labels, "creationTimestamp": "2026-11-24T11:59:00Z"},
                "status": {"containerStatuses": [{"name": "indexer", "state": {"terminated": ended}}]},
            }
        )

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition on record."""
        (found,) = [c for c in self.status["conditions"] if c["type"] == kind]
        return found["status"], found["reason"]

    def message(self, kind: str = "Ready") -> str:
        """The message of a condition on record."""
        (found,) = [c for c in self.status["conditions"] if c["type"] == kind]
        return str(found["message"])

    def serves(self) -> None:
        """Brings the index to the end of its first build."""
        self.act()
        self.engine_answers()
        self.act()
        self.job_ends({"result": RESULT})
        self.act()
        self.act()


@pytest.fixture
def scene() -> Scene:
    """An index that has just been created, with everything that it names."""
    spec: dict[str, Any] = {
        "milvus": {"topology": "Standalone", "storage": {"size": "2Gi", "storageClassName": "fast"}},
        "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
    }
    around: dict[str, Json | None] = {"ConfigMap": config_map(), "LLMService": embedder()}
    return Scene(spec=spec, around=around, storage_classes=[storage_class()])


@pytest.fixture
def made() -> Any:
    """Builders of the objects around the index."""
    return type("Made", (), {
        "embedder": staticmethod(embedder), "config_map": staticmethod(config_map), "claim": staticmethod(claim),
        "storage_class": staticmethod(storage_class), "result": RESULT,
    })  # fmt: skip
