"""The operator's own account suffices for the lives of all three kinds, and may do nothing that it never does."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
import urllib.request
from base64 import b64decode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pod_endings
import pytest
import yaml
from hearth.kube.rbac import RIGHTS
from hearth_cluster import binaries
from hearth_cluster.cluster import Cluster
from recording_proxy import Recording, Use, recording, token_kubeconfig

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "hearth"
SYSTEM = "hearth-system"
PATIENCE = 90.0

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
    "findings": [],
}
OUTCOME: dict[str, Any] = {
    "step": 21,
    "totalSteps": 21,
    "loss": "0.0312",
    "tokensPerSecond": "310.5",
    "evaluation": [{"subject": "tuned", "metric": "Loss", "value": "0.0400"}],
    "artifacts": [
        {"kind": "Adapter", "path": "artifacts/adapter-aa", "digest": "sha256:" + "a" * 64, "size": 10},
        {"kind": "Merged", "path": "artifacts/merged-bb", "digest": "sha256:" + "b" * 64, "size": 270_000_000},
    ],
    "libraries": {"torch": "2.13.0"},
    "peakMemory": 2_000_000_000,
}

INDEXED: dict[str, Any] = {
    "documents": 52,
    "chunks": 130,
    "skippedCount": 0,
    "skipped": [],
    "alias": "handbook",
    "collection": "handbook_0123456789ab",
    "embeddings": [{"name": "text", "dimension": 384}],
    "recall": {"k": 10, "queries": 100, "measured": 0.992},
    "index": {"type": "HNSW", "params": {"M": 16, "efConstruction": 200}, "search": {"ef": 64}},
    "chunking": {"size": 128, "overlap": 16, "exactTokens": True},
    "capabilities": ["Dense"],
    "sparse": False,
    "engine": "v2.3.5",
    "embeddedNow": 130,
    "reused": 0,
    "dropped": [],
}

SHOWN_ELSEWHERE: dict[Use, str] = {
    **{
        Use(group, resource, "get"): "asked when a child's name is taken, as shown here with a ConfigMap"
        for group, resource in [
            ("", "services"),
            ("apps", "deployments"),
            ("apps", "statefulsets"),
            ("batch", "jobs"),
            ("policy", "poddisruptionbudgets"),
            ("networking.k8s.io", "networkpolicies"),
        ]
    },
    Use("discovery.k8s.io", "endpointslices", "create"): "an address on loopback cannot be published; tests/e2e",
    Use("discovery.k8s.io", "endpointslices", "patch"): "an address on loopback cannot be published; tests/e2e",
    Use("events.k8s.io", "events", "patch"): "a repeated event is told after a minute; tests/unit/kube/test_events.py",
}


def chart_objects(*kinds: str) -> list[dict[str, Any]]:
    """Objects of the rendered chart, of these kinds."""
    command = [str(binaries.tool("helm")), "template", "hearth", str(CHART), "--namespace", SYSTEM]
    values = ["--values", str(CHART / "ci" / "images-values.yaml"), "--kube-version", "1.36.3"]
    text = subprocess.run([*command, *values], capture_output=True, text=True, check=True).stdout
    return [obj for obj in yaml.safe_load_all(text) if obj and obj["kind"] in kinds]


def until(condition: Callable[[], Any], what: str, otherwise: Callable[[], Any] = str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}: {otherwise()}"
        time.sleep(0.3)
    return answer


@pytest.fixture
async def operator(control_plane: Cluster, cpu_nodes: list[str], tmp_path: Path) -> AsyncIterator[Recording]:
    """`hearth run` as the chart's ServiceAccount, with the chart's roles, behind a proxy that records."""
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service")
    control_plane.apply(*chart_objects(*rights))
    (tmp_path / "settings.yaml").write_text(chart_objects("ConfigMap")[0]["data"]["settings.yaml"])
    token = control_plane.kubectl("create", "token", "hearth", "-n", SYSTEM, "--duration=1h").strip()
    async with recording(control_plane.kubeconfig) as record:
        kubeconfig = token_kubeconfig(record.url, token, tmp_path / "kubeconfig")
        arguments = ["--settings", str(tmp_path / "settings.yaml"), "--kubeconfig", str(kubeconfig)]
        arguments += ["--probe-port", "0", "--progress-address", "127.0.0.1", "--log-format", "text"]
        log = (tmp_path / "operator.log").open("w")
        program = Path(sys.executable).with_name("hearth")
        process = await asyncio.create_subprocess_exec(program, "run", *arguments, stderr=log, stdout=log)
        try:
            yield record
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
            log.close()
            print((tmp_path / "operator.log").read_text())


class Town:
    """One namespace, and what people and pods do in it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace

    def apply(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.apply({"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})

    def get(self, kind: str, name: str) -> dict[str, Any]:
        text = self.cluster.kubectl("get", kind, name, "-n", self.namespace, "--ignore-not-found", "-o", "json")
        return json.loads(text or "{}")

    def names(self, resource: str, owner: str) -> list[str]:
        found = self.cluster.get(resource, "-n", self.namespace, "-l", f"hearth.dev/name={owner}")["items"]
        return [obj["metadata"]["name"] for obj in found]

    def condition(self, kind: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        status = self.get(kind, name).get("status", {})
        return next((c for c in status.get("conditions", []) if c["type"] == type_), {})

    def becomes(self, kind: str, name: str, status: str, reason: str = "") -> None:
        def reached() -> bool:
            found = self.condition(kind, name)
            return found.get("status") == status and reason in ("", found["reason"])

        until(reached, f"{kind} {name} to be Ready={status} {reason}", self.said)

    def said(self) -> list[str]:
        found = self.cluster.get("hearth", "-n", self.namespace)["items"]
        conditions = [(o["metadata"]["name"], c) for o in found for c in o.get("status", {}).get("conditions", [])]
        return [f"{name} {c['type']}={c['status']} {c['reason']}: {c.get('message')}" for name, c in conditions]

    def pod(self, owner: str, component: str) -> str:
        """The name of the owner's running pod of this part."""
        labels = f"hearth.dev/name={owner},hearth.dev/component={component}"

        def running() -> str | None:
            found = self.cluster.get("pods", "-n", self.namespace, "-l", labels)["items"]
            return next((p["metadata"]["name"] for p in found if p["status"].get("phase") == "Running"), None)

        return str(until(running, f"a running {component} pod of {owner}", self.said))

    def end(self, owner: str, component: str, told: dict[str, Any]) -> None:
        pod_endings.end(self.cluster, self.namespace, self.pod(owner, component), told)

    def volumes(self, count: int) -> None:
        """A class that can grow, and volumes for the claims that will ask for it."""
        storage = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "fast"}}
        provisioner = "kubernetes.io/no-provisioner"
        self.cluster.apply({**storage, "provisioner": provisioner, "allowVolumeExpansion": True})
        for number in range(count):
            spec = {"capacity": {"storage": "100Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
            metadata = {"name": f"{self.namespace}-{number}"}
            volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata}
            self.cluster.apply({**volume, "spec": {**spec, "hostPath": {"path": "/tmp"}}})


def serve(town: Town) -> None:
    """A service reads its model, serves, loses its gateway with its keys, and is suspended."""
    embedder = {"task": "Embed", "model": {"uri": "oci://models.example/minilm:1"}, "accelerator": {"count": 0}}
    town.apply("LLMService", "embedder", {**embedder, "access": {"apiKeysSecretRef": {"name": "keys"}}})
    town.end("embedder", "inspect", {"inspect": {"facts": FACTS}})
    town.becomes("LLMService", "embedder", "True")
    assert town.get("Deployment", "embedder-gateway")
    town.apply("LLMService", "embedder", embedder)
    until(lambda: not town.get("Deployment", "embedder-gateway"), "the gateway to go")
    town.becomes("LLMService", "embedder", "True")
    for _ in range(2):
        town.apply("LLMService", "embedder", {**embedder, "suspend": True})
        town.becomes("LLMService", "embedder", "False", "Suspended")
        until(lambda: not town.get("Deployment", "embedder-engine"), "the engine to go")
        town.apply("LLMService", "embedder", embedder)
        town.becomes("LLMService", "embedder", "True")


def train(town: Town) -> None:
    """A job checks its rows, trains on a volume of a class, and publishes."""
    rows = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rows", "namespace": town.namespace}}
    town.cluster.apply({**rows, "data": {"train.jsonl": '{"messages": []}'}})
    job = {
        "model": {"uri": "oci://models.example/smollm2:1"},
        "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
        "accelerator": {"count": 0},
        "checkpoints": {"storage": {"size": "10Gi", "storageClassName": "fast"}},
    }
    town.apply("FineTuneJob", "court", job)
    town.end("court", "prepare", {"inspect": {"facts": FACTS}, "prepare": {"result": ROWS}})
    push_progress(town, "finetunejobs/court", town.pod("court", "train"))
    until(lambda: town.get("FineTuneJob", "court")["status"].get("progress"), "the progress")
    town.end("court", "train", {"train": {"result": OUTCOME}})
    town.becomes("FineTuneJob", "court", "True", "Succeeded")


def index(town: Town) -> None:
    """Documents are indexed on a volume, and the volume grows."""
    pages = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "handbook", "namespace": town.namespace}}
    town.cluster.apply({**pages, "data": {"welcome.md": "# Welcome"}})
    spec = {
        "milvus": {"storage": {"size": "2Gi", "storageClassName": "fast"}},
        "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
    }
    town.apply("VectorIndex", "handbook", spec)
    town.end("handbook", "index", {"indexer": {"result": INDEXED}})
    town.becomes("VectorIndex", "handbook", "True")
    before = town.get("StatefulSet", "handbook-milvus")["metadata"]["uid"]
    pod = town.pod("handbook", "milvus")
    grown = {**spec, "milvus": {"storage": {"size": "4Gi", "storageClassName": "fast"}}}
    town.apply("VectorIndex", "handbook", grown)
    until(
        lambda: town.get("StatefulSet", "handbook-milvus").get("metadata", {}).get("uid") not in (before, None),
        "growth",
    )
    claim = until(lambda: town.get("PersistentVolumeClaim", "data-handbook-milvus-0"), "the claim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "4Gi"
    assert town.pod("handbook", "milvus") == pod
    old = town.names("jobs", "handbook")
    town.apply("VectorIndex", "handbook", {**grown, "chunking": {"size": 256}})
    until(lambda: not set(old) & set(town.names("jobs", "handbook")), "the old build to go")
    town.end("handbook", "index", {"indexer": {"result": INDEXED}})
    town.becomes("VectorIndex", "handbook", "True")


def push_progress(town: Town, resource: str, pod: str) -> None:
    """What the trainer sends: the token of its pod, over TLS that the operator's authority signed."""
    bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}", "--audience=hearth-progress")
    token = town.cluster.kubectl("create", "token", "default", "-n", town.namespace, *bound).strip()
    secret = town.cluster.get("secret", "hearth-progress-tls", "-n", SYSTEM)
    trust = ssl.create_default_context(cadata=b64decode(secret["data"]["ca.crt"]).decode())
    trust.check_hostname = False  # the test knows the endpoint by its address, pods by its Service's name
    metrics = [{"name": "step", "value": "3"}, {"name": "total_steps", "value": "21"}]
    body = {"trainerStatus": {"progressPercentage": 14, "metrics": metrics, "lastUpdatedTime": pod_endings.MOMENT}}
    request = urllib.request.Request(
        f"https://127.0.0.1:8443/v1/progress/{town.namespace}/{resource}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
        assert answer.status < 300


def meet_a_stranger(town: Town) -> None:
    """A name that a child needs is somebody else's: the operator reads the object and leaves it alone."""
    taken = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "taken-engine", "namespace": town.namespace}}
    town.cluster.apply({**taken, "data": {"mine": "yes"}})
    town.apply("LLMService", "taken", {"model": {"uri": "oci://models.example/smollm2:1"}, "accelerator": {"count": 0}})
    town.becomes("LLMService", "taken", "False")
    until(lambda: town.condition("LLMService", "taken", "Stalled").get("status") == "True", "the service to be stuck")
    assert town.get("ConfigMap", "taken-engine")["data"] == {"mine": "yes"}


def wait_for_a_secret(town: Town) -> None:
    """A Secret that a spec names is read by its name; it is not there."""
    spec = {
        "milvus": {
            "topology": "External",
            "external": {"uri": "https://milvus.example", "secretRef": {"name": "token"}},
        },
        "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
        "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
    }
    town.apply("VectorIndex", "elsewhere", spec)
    until(
        lambda: "Secret token" in town.condition("VectorIndex", "elsewhere").get("message", ""), "the Secret", town.said
    )


def rest(record: Recording) -> None:
    """Converged: nothing is written any more."""
    before = list(record.writes)
    time.sleep(8)
    assert record.writes[len(before) :] == []


async def test_the_roles_of_the_chart_suffice_and_none_is_idle(
    operator: Recording, control_plane: Cluster, namespace: str
) -> None:
    town = Town(control_plane, namespace)

    def story() -> None:
        town.volumes(3)
        serve(town)
        train(town)
        index(town)
        meet_a_stranger(town)
        wait_for_a_secret(town)
        rest(operator)

    await asyncio.to_thread(story)
    granted = {Use(right.group, right.resource, verb) for right in RIGHTS for verb in right.verbs}
    assert operator.forbidden == set()
    assert operator.uses - granted == set()
    assert granted - operator.uses == set(SHOWN_ELSEWHERE)
