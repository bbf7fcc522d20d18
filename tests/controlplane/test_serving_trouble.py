"""What a service says when something is wrong, on a real API server and scheduler: a condition, an Event, nothing else
disturbed. Pods run on fake nodes; where a container would have left a result, the test writes it in its place.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth_cluster.cluster import Cluster
from operator_process import OperatorProcess, eventually, free_port, hearth_run

NAMESPACE = "serving-trouble"
IMAGES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
MODEL = "oci://registry.example/models/smollm2:1"
FACTS = {
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
NOT_FOUND = {
    "error": {
        "class": "ModelNotFound",
        "message": "/model/nope does not exist; /model holds: config.json",
        "suggestion": "correct the path in spec.model, or put the model there",
    }
}


class Stage:
    """A namespace that one `hearth run` serves."""

    def __init__(self, cluster: Cluster, operator: OperatorProcess) -> None:
        self.cluster, self.operator = cluster, operator

    def get(self, *what: str) -> dict[str, Any]:
        return self.cluster.get("-n", NAMESPACE, *what)

    def apply(self, kind: str, name: str, spec: dict[str, Any], **metadata: Any) -> None:
        placed = {"name": name, "namespace": NAMESPACE, **metadata}
        self.cluster.apply({"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": placed, "spec": spec})

    def serve(self, name: str, model: dict[str, Any], **spec: Any) -> None:
        self.apply("LLMService", name, {"model": model, "accelerator": {"count": 0}, **spec})

    def serving(self, name: str) -> None:
        """A service that serves the base model."""
        self.serve(name, {"uri": MODEL})
        self.end_inspection(name, {"facts": FACTS})
        self.await_condition(name, "Ready", "True", "Serving")

    def end_inspection(self, name: str, told: dict[str, Any], code: int = 0) -> None:
        found: list[str] = []

        def runs() -> bool:
            labels = f"hearth.dev/name={name},hearth.dev/component=inspect"
            pods = self.get("pods", "-l", labels)["items"]
            found[:] = [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]
            return bool(found)

        eventually(runs, f"the inspection of {name}")
        self.cluster.end_pod(NAMESPACE, found[0], exit_code=code, message=json.dumps(told))

    def condition(self, name: str, type_: str) -> dict[str, Any]:
        service = self.get("llmservice", name)
        conditions = service.get("status", {}).get("conditions", [])
        current = service["metadata"]["generation"]
        return next((c for c in conditions if c["type"] == type_ and c["observedGeneration"] == current), {})

    def await_condition(self, name: str, type_: str, status: str, reason: str) -> str:
        def holds() -> bool:
            found = self.condition(name, type_)
            return (found.get("status"), found.get("reason")) == (status, reason)

        try:
            eventually(holds, f"{name}: {type_}={status} {reason}")
        except AssertionError as error:
            told = json.dumps(self.get("llmservice", name).get("status"), indent=1)
            raise AssertionError(f"{error}\n{told}\n{self.operator.log_text()[-3000:]}") from error
        return str(self.condition(name, type_)["message"])

    def await_event(self, name: str, reason: str) -> None:
        def told() -> bool:
            events = [e for e in self.get("events.events.k8s.io")["items"] if e["regarding"]["name"] == name]
            return any((e["type"], e["reason"]) == ("Warning", reason) for e in events)

        eventually(told, f"a Warning {reason} about {name}")

    def engine(self, name: str) -> dict[str, Any]:
        """What decides about the engine's pods."""
        spec: dict[str, Any] = self.get("deployment", f"{name}-engine")["spec"]
        return spec


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
    yield Stage(control_plane, operator)
    operator.end()
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def neighbour(stage: Stage) -> dict[str, Any]:
    """A service beside the one in trouble, as it was before."""
    stage.serving("neighbour")
    return stage.get("llmservice", "neighbour")


@pytest.fixture(autouse=True)
def undisturbed(stage: Stage, neighbour: dict[str, Any]) -> Iterator[None]:
    """No trouble of one service costs another one a write."""
    yield
    assert (
        stage.get("llmservice", "neighbour")["metadata"]["resourceVersion"] == neighbour["metadata"]["resourceVersion"]
    )


def test_an_unknown_model_path_leaves_the_served_model_alone(stage: Stage) -> None:
    stage.serving("moved")
    before = stage.engine("moved")
    stage.serve("moved", {"uri": "oci://registry.example/models/nope:1"})
    stage.end_inspection("moved", NOT_FOUND, code=66)
    message = stage.await_condition("moved", "ModelReady", "False", "ModelNotFound")
    assert "/model/nope does not exist" in message
    assert stage.condition("moved", "Available")["status"] == "True"
    assert stage.engine("moved") == before
    stage.await_event("moved", "ModelNotFound")


def test_a_claim_that_does_not_exist_is_named(stage: Stage) -> None:
    stage.serve("claimless", {"uri": "pvc://nowhere/court"})
    message = stage.await_condition("claimless", "ModelReady", "False", "VolumeMissing")
    assert "PersistentVolumeClaim nowhere does not exist" in message
    stage.await_event("claimless", "VolumeMissing")


def test_an_image_that_cannot_be_pulled_stalls_the_new_revision_only(stage: Stage) -> None:
    stage.serving("pulling")
    waiting = {"kwok.hearth.dev/waiting-reason": "ImagePullBackOff", "kwok.hearth.dev/waiting-message": "not found"}
    stage.serve("pulling", {"uri": MODEL}, engine={"image": "no/such:1"}, podOverrides={"annotations": waiting})
    message = stage.await_condition("pulling", "RolledOut", "False", "ImagePullFailed")
    assert "no/such:1" in message
    assert stage.condition("pulling", "Stalled")["status"] == "True"
    assert stage.condition("pulling", "Available")["status"] == "True"
    stage.await_event("pulling", "ImagePullFailed")


def test_a_model_that_cannot_fit_gets_no_pod(stage: Stage) -> None:
    stage.serve("huge", {"uri": MODEL}, resources={"limits": {"memory": "1Gi"}})
    stage.end_inspection("huge", {"facts": FACTS})
    message = stage.await_condition("huge", "Ready", "False", "DoesNotFit")
    assert "Smallest change that fits: resources.limits.memory: 3Gi" in message
    assert stage.get("deployments", "-l", "hearth.dev/name=huge")["items"] == []
    stage.await_event("huge", "DoesNotFit")


def test_a_gpu_that_no_node_has_is_told_with_what_the_nodes_have(stage: Stage, gpu_nodes: list[str]) -> None:
    stage.serving("moving")
    stage.serve("moving", {"uri": MODEL}, accelerator={"count": 1, "products": ["NVIDIA-H200"]})
    message = stage.await_condition("moving", "Scheduled", "False", "Unschedulable")
    assert message.startswith("1 x nvidia.com/gpu with product NVIDIA-H200 wanted")
    assert "4 nodes with 8 x NVIDIA-A100-SXM4-80GB" in message
    assert "2 nodes with 4 x NVIDIA-L4" in message
    assert stage.condition("moving", "Available")["status"] == "True"
    stage.await_event("moving", "Unschedulable")


@pytest.fixture
def tuned(stage: Stage) -> Iterator[str]:
    """A FineTuneJob as its operator would have left it; that of this test keeps its hands off."""
    rows = {"train": {"uri": "configMap://rows/train.jsonl"}}
    hands_off = {"annotations": {"hearth.dev/reconcile": "disabled"}}
    stage.apply("FineTuneJob", "tuner", {"model": {"uri": MODEL}, "dataset": rows}, **hands_off)
    yield "tuner"
    stage.cluster.kubectl("delete", "finetunejob", "tuner", "-n", NAMESPACE, "--ignore-not-found")


def finish(stage: Stage, *, passed: bool) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    done = {"type": "Ready", "status": str(passed), "reason": "Done", "message": "", "lastTransitionTime": now}
    artifact = {"kind": "Merged", "uri": "pvc://tuner-artifacts/artifacts/merged-3", "digest": "sha256:" + "3" * 64}
    status = {
        "conditions": [done],
        "gate": {"passed": passed, "reason": "JSONFieldF1 0.41 < 0.9"},
        "artifacts": [artifact | {"size": 1}],
        "resolved": {"model": FACTS | {"source": MODEL}},
    }
    patch = json.dumps({"status": status})
    stage.cluster.kubectl(
        "patch", "finetunejob", "tuner", "-n", NAMESPACE, "--subresource=status", "--type=merge", "-p", patch
    )


def test_a_model_that_failed_its_gate_is_not_served(stage: Stage, tuned: str) -> None:
    stage.serving("gated")
    before = stage.engine("gated")
    finish(stage, passed=False)
    stage.serve("gated", {"fromFineTune": {"name": tuned}})
    message = stage.await_condition("gated", "ModelReady", "False", "GateNotMet")
    assert "JSONFieldF1 0.41 < 0.9" in message
    assert stage.engine("gated") == before
    assert stage.condition("gated", "Available")["status"] == "True"
    stage.await_event("gated", "GateNotMet")


def test_deleting_the_job_of_a_served_model_stops_nothing(stage: Stage, tuned: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "tuner-artifacts", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "",
            "volumeName": "tuner-artifacts",
        },
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "tuner-artifacts"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/nowhere"},
            "claimRef": {"namespace": NAMESPACE, "name": "tuner-artifacts"},
            "storageClassName": "",
        },
    }
    stage.cluster.apply(volume, claim)
    finish(stage, passed=True)
    stage.serve("orphan", {"fromFineTune": {"name": tuned}})
    stage.await_condition("orphan", "Ready", "True", "Serving")
    before = stage.engine("orphan")
    stage.cluster.kubectl("delete", "finetunejob", tuned, "-n", NAMESPACE)
    message = stage.await_condition("orphan", "ModelReady", "True", "SourceDeleted")
    assert "is still served" in message
    assert stage.condition("orphan", "Ready")["status"] == "True"
    assert stage.engine("orphan") == before
    stage.await_event("orphan", "SourceDeleted")
