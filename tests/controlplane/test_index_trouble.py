"""What an index says when something is wrong, on a real API server: a condition, an Event, the old build serves, and no
other index is disturbed.

The indexer's pods run on fake nodes; what they would have left in their termination message, the test leaves there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth_cluster.cluster import Cluster
from kind_results import FACTS
from operator_process import OperatorProcess, eventually, free_port, hearth_run

NAMESPACE = "index-trouble"
IMAGES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
EXTERNAL = {"topology": "External", "external": {"uri": "http://milvus.example:19530"}}


def result(collection: str, dimension: int = 384) -> dict[str, Any]:
    """What images/indexer leaves behind."""
    found = {
        "documents": 3, "chunks": 7, "skippedCount": 0, "skipped": [], "alias": "index_trouble_x",
        "collection": collection, "embeddings": [{"name": "text", "dimension": dimension}],
        "recall": {"k": 10, "queries": 100, "measured": 1.0}, "index": {"type": "HNSW", "search": {"ef": 64}},
        "chunking": {"size": 128, "overlap": 16, "exactTokens": True}, "capabilities": ["Dense"], "sparse": False,
        "engine": "v2.3.5-lite", "embeddedNow": 7, "reused": 0, "dropped": [],
    }  # fmt: skip
    return {"result": found}


class Stage:
    """A namespace that one `hearth run` serves, with an embedder that is only described."""

    def __init__(self, cluster: Cluster, operator: OperatorProcess) -> None:
        self.cluster, self.operator = cluster, operator

    def get(self, *what: str) -> dict[str, Any]:
        return self.cluster.get("-n", NAMESPACE, *what)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def index(
        self,
        name: str,
        milvus: dict[str, Any] | None = None,
        documents: str = "documents",
        embedder: str = "embedder",
        **spec: Any,
    ) -> None:
        sources = [{"name": "docs", "uri": f"configMap://{documents}"}]
        embeddings = [{"name": "text", "serviceRef": {"name": embedder}}]
        body = {"milvus": milvus or EXTERNAL, "sources": sources, "embeddings": embeddings, **spec}
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply(
            {"apiVersion": "hearth.dev/v1alpha1", "kind": "VectorIndex", "metadata": placed, "spec": body}
        )

    def documents(self, name: str, text: str) -> None:
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": placed, "data": {"a.md": text}})

    def embedder(self, digest: str, name: str = "embedder") -> None:
        """An LLMService that serves the model with this digest."""
        placed = {"name": name, "namespace": NAMESPACE, "annotations": {"hearth.dev/reconcile": "disabled"}}
        spec = {"task": "Embed", "model": {"uri": "pvc://models/minilm"}}
        self.cluster.apply(
            {"apiVersion": "hearth.dev/v1alpha1", "kind": "LLMService", "metadata": placed, "spec": spec}
        )
        ready = {
            "type": "Ready", "status": "True", "reason": "Serving", "message": "",
            "lastTransitionTime": "2026-11-24T12:00:00Z",
        }  # fmt: skip
        status = {
            "url": f"http://{name}:8000/v1",
            "model": {"uri": "pvc://models/minilm", "digest": digest},
            "resolved": {"servedName": name},
            "conditions": [ready],
        }
        patch = json.dumps({"status": status})
        self.kubectl("patch", "llmservice", name, "--subresource=status", "--type=merge", "-p", patch)

    def end_build(self, name: str, told: dict[str, Any], code: int = 0, **how: str) -> None:
        """The indexer's pod leaves its message and ends."""
        self.end_pod(name, "index", told, code, **how)

    def end_pod(self, name: str, component: str, told: dict[str, Any], code: int = 0, **how: str) -> None:
        """The pod of a Job leaves its message and ends."""
        found: list[str] = []

        def runs() -> bool:
            pods = self.get("pods", "-l", f"hearth.dev/name={name},hearth.dev/component={component}")["items"]
            found[:] = [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]
            return bool(found)

        eventually(runs, f"the {component} pod of {name}")
        self.cluster.end_pod(NAMESPACE, found[0], exit_code=code, message=json.dumps(told), **how)

    def serve(self, name: str, index: str) -> None:
        """A service that answers from an index; its model has been read."""
        placed = {"name": name, "namespace": NAMESPACE}
        model = {"uri": "oci://registry.example/models/smollm2:1"}
        spec = {"model": model, "accelerator": {"count": 0}, "rag": {"indexRef": {"name": index}}}
        self.cluster.apply(
            {"apiVersion": "hearth.dev/v1alpha1", "kind": "LLMService", "metadata": placed, "spec": spec}
        )
        self.end_pod(name, "inspect", {"facts": FACTS})

    def asked_embedder(self, service: str) -> str:
        """The model that the service's gateway asks for the vectors of questions."""
        pod = self.get("deployment", f"{service}-gateway")["spec"]["template"]["spec"]
        named = next(v["configMap"]["name"] for v in pod["volumes"] if v["name"] == "config")
        config = json.loads(self.get("configmap", named)["data"]["config.json"])
        return str(config["rag"]["embedding"]["model"])

    def condition(self, name: str, type_: str, kind: str = "vectorindex") -> dict[str, Any]:
        index = self.get(kind, name)
        conditions = index.get("status", {}).get("conditions", [])
        current = index["metadata"]["generation"]
        return next((c for c in conditions if c["type"] == type_ and c["observedGeneration"] == current), {})

    def await_condition(self, name: str, type_: str, status: str, reason: str, kind: str = "vectorindex") -> str:
        def holds() -> bool:
            found = self.condition(name, type_, kind)
            return (found.get("status"), found.get("reason")) == (status, reason)

        try:
            eventually(holds, f"{name}: {type_}={status} {reason}")
        except AssertionError as error:
            told = json.dumps(self.get(kind, name).get("status"), indent=1)
            raise AssertionError(f"{error}\n{told}\n{self.operator.log_text()[-3000:]}") from error
        return str(self.condition(name, type_, kind)["message"])

    def await_event(self, name: str, reason: str, type_: str = "Warning") -> str:
        def told() -> list[str]:
            events = [e for e in self.get("events.events.k8s.io")["items"] if e["regarding"]["name"] == name]
            return [e["note"] for e in events if (e["reason"], e["type"]) == (reason, type_)]

        eventually(told, f"an Event {reason} about {name}")
        return told()[0]


@pytest.fixture(scope="module")
def stage(control_plane: Cluster, cpu_nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("operator")
    control_plane.kubectl("apply", "--server-side", "-f", str(Path(__file__).parents[2] / "crds"))
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    control_plane.kubectl("wait", "--for=create", "--timeout=30s", "-n", NAMESPACE, "serviceaccount/default")
    url = f"https://hearth-progress.{NAMESPACE}.svc:{free_port()}"
    images = {name: f"registry.example/hearth/{name}:1" for name in IMAGES}
    settings = folder / "settings.yaml"
    settings.write_text(yaml.safe_dump({"images": images, "namespace": NAMESPACE, "progress_url": url}))
    operator = hearth_run(control_plane.kubeconfig, settings, folder / "log", "-n", NAMESPACE)
    eventually(lambda: operator.is_leader() and operator.is_ready(), "the operator is at work", 90)
    made = Stage(control_plane, operator)
    made.embedder("sha256:" + "a" * 64)
    made.documents("documents", "# A")
    yield made
    operator.end()
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def neighbour(stage: Stage) -> str:
    """An index beside the one in trouble, which serves; its version."""
    stage.index("neighbour")
    stage.end_build("neighbour", result("index_trouble_neighbour_0"))
    stage.await_condition("neighbour", "Ready", "True", "Indexed")
    return str(stage.get("vectorindex", "neighbour")["metadata"]["resourceVersion"])


@pytest.fixture(autouse=True)
def undisturbed(stage: Stage, neighbour: str) -> Iterator[None]:
    """No trouble of one index costs another one a write."""
    yield
    assert stage.get("vectorindex", "neighbour")["metadata"]["resourceVersion"] == neighbour


def test_a_missing_config_map_is_named_and_the_index_goes_on_once_it_exists(stage: Stage) -> None:
    stage.index("waiting", documents="later")
    message = stage.await_condition("waiting", "SourcesReady", "False", "SourceNotFound")
    assert message == "source docs: ConfigMap later does not exist: create it"
    stage.await_event("waiting", "SourceNotFound")
    assert stage.get("vectorindex", "waiting")["status"]["pending"]["waitingOn"] == ["ConfigMap later"]
    assert stage.get("jobs", "-l", "hearth.dev/name=waiting")["items"] == []

    stage.documents("later", "# B")
    stage.end_build("waiting", result("index_trouble_waiting_0"))
    assert stage.await_condition("waiting", "Ready", "True", "Indexed") == "3 documents in 7 chunks"
    assert "pending" not in stage.get("vectorindex", "waiting")["status"]


def test_a_missing_storage_class_is_named_and_the_engine_comes_once_it_exists(stage: Stage) -> None:
    stage.index("stored", {"topology": "Standalone", "storage": {"storageClassName": "vix-fast"}})
    message = stage.await_condition("stored", "EngineReady", "False", "StorageClassNotFound")
    assert message.startswith("StorageClass vix-fast does not exist")
    stage.await_event("stored", "StorageClassNotFound")
    assert stage.get("statefulsets")["items"] == []

    fast = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "vix-fast"}}
    stage.cluster.apply(fast | {"provisioner": "csi.example"})
    eventually(lambda: stage.get("statefulsets")["items"], "the StatefulSet")
    (engine,) = stage.get("statefulsets")["items"]
    assert engine["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] == "vix-fast"


def test_another_dimension_is_a_new_build_and_the_old_one_serves_until_then(stage: Stage) -> None:
    stage.embedder("sha256:" + "a" * 64, "swapped")
    stage.index("changing", embedder="swapped")
    stage.end_build("changing", result("index_trouble_changing_0"))
    stage.await_condition("changing", "Ready", "True", "Indexed")
    before = stage.get("vectorindex", "changing")["status"]

    stage.embedder("sha256:" + "b" * 64, "swapped")
    message = stage.await_condition("changing", "Indexed", "False", "Building")
    assert "is being made" in message or "begins" in message
    during = stage.get("vectorindex", "changing")["status"]
    assert during["builds"]["collection"] == before["builds"]["collection"]
    assert during["embeddings"] == before["embeddings"]

    stage.end_build("changing", result("index_trouble_changing_1", dimension=768))
    stage.await_condition("changing", "Ready", "True", "Indexed")
    after = stage.get("vectorindex", "changing")["status"]
    assert after["builds"]["collection"] == "index_trouble_changing_1"
    assert after["embeddings"][0]["dimension"] == 768
    assert "now has 768 dimensions" in stage.await_event("changing", "DimensionChanged", "Normal")
    stage.await_event("changing", "BuildSwitched", "Normal")


def test_questions_wait_while_the_index_has_the_vectors_of_another_model(stage: Stage) -> None:
    stage.embedder("sha256:" + "a" * 64, "renewed")
    stage.index("asked", embedder="renewed")
    stage.end_build("asked", result("index_trouble_asked_0"))
    stage.serve("assistant", "asked")
    stage.await_condition("assistant", "Ready", "True", "Serving", "llmservice")
    assert stage.asked_embedder("assistant") == "renewed@aaaaaaaaaaaa"
    before = stage.get("deployment", "assistant-gateway")["spec"]

    stage.embedder("sha256:" + "b" * 64, "renewed")
    said = "LLMService renewed serves model sha256:bbbbbbbbbbbb by now"
    assert stage.await_condition("asked", "EmbeddersMatch", "False", "EmbedderChanged").startswith(said)
    message = stage.await_condition("assistant", "Ready", "False", "EmbedderChanged", "llmservice")
    assert message.startswith(f"VectorIndex asked: {said}")
    assert stage.get("deployment", "assistant-gateway")["spec"] == before

    stage.end_build("asked", result("index_trouble_asked_1"))
    stage.await_condition("asked", "EmbeddersMatch", "True", "SameModels")
    stage.await_condition("assistant", "Ready", "True", "Serving", "llmservice")
    assert stage.asked_embedder("assistant") == "renewed@bbbbbbbbbbbb"


def test_more_than_the_engine_can_do_is_stalled_and_taking_it_back_heals(stage: Stage) -> None:
    stage.documents("words", "# W")
    stage.index("words", documents="words")
    stage.end_build("words", result("index_trouble_words_0"))
    stage.await_condition("words", "Ready", "True", "Indexed")
    serving = stage.get("vectorindex", "words")["status"]["builds"]

    stage.index("words", documents="words", sparse={"enabled": True})
    said = "sparse.enabled asks for BM25, but this engine (v2.3.5-lite) can do only: Dense"
    stage.end_build("words", {"error": {"class": "NotSupported", "message": said}}, code=64)
    assert said in stage.await_condition("words", "Stalled", "True", "NotSupported")
    assert stage.get("vectorindex", "words")["status"]["builds"] == serving
    stage.await_event("words", "NotSupported")

    stage.kubectl("patch", "vectorindex", "words", "--type=json", "-p", '[{"op": "remove", "path": "/spec/sparse"}]')
    stage.await_condition("words", "Ready", "True", "Indexed")


def test_a_build_that_runs_out_of_memory_is_not_tried_in_vain(stage: Stage) -> None:
    stage.index("large")
    stage.end_build("large", {}, code=137, reason="OOMKilled")
    message = stage.await_condition("large", "Stalled", "True", "OOMKilled")
    assert "more memory than its limit of 3Gi; raise indexer.resources.limits.memory" in message
    stage.await_event("large", "OOMKilled")
    job = ("jobs", "-l", "hearth.dev/name=large")
    eventually(lambda: "Failed" in str(stage.get(*job)["items"][0]["status"].get("conditions")), "the Job has ended")
    assert len(stage.get("pods", "-l", "hearth.dev/name=large,hearth.dev/component=index")["items"]) == 1

    stage.index("large", indexer={"resources": {"limits": {"memory": "8Gi"}}})
    stage.end_build("large", result("index_trouble_large_0"))
    stage.await_condition("large", "Ready", "True", "Indexed")
    (pod,) = stage.get("pods", "-l", "hearth.dev/name=large,hearth.dev/component=index")["items"]
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"memory": "8Gi"}
