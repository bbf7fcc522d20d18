"""What a FineTuneJob says and does when its input is wrong or its pods go, on a real API server, scheduler and Job
controller: a condition, a Warning, nothing else disturbed.

Pods run on fake nodes; where a container would have left a result, the test writes it in its place.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth_cluster.cluster import Cluster
from operator_process import OperatorProcess, eventually, free_port, hearth_run

NAMESPACE = "training-trouble"
IMAGES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
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
ROWS = {
    "format": "Chat",
    "digest": "sha256:" + "2" * 64,
    "trainRows": 100,
    "evalRows": 10,
    "trainTokens": 20_000,
    "longestRow": 250,
    "longestTarget": 90,
    "findings": [],
}
OUTCOME = {
    "step": 21,
    "totalSteps": 21,
    "evaluation": [{"subject": "tuned", "metric": "ExactMatch", "value": "0.3000"}],
    "gate": {"passed": False, "reason": "ExactMatch 0.3000 is below 0.8"},
    "artifacts": [{"kind": "Merged", "path": "artifacts/merged-bb", "digest": "sha256:" + "b" * 64, "size": 270}],
    "libraries": {"torch": "2.13.0"},
    "peakMemory": 2_000_000_000,
}


class Stage:
    """A namespace that one `hearth run` serves."""

    def __init__(self, cluster: Cluster, operator: OperatorProcess) -> None:
        self.cluster, self.operator = cluster, operator

    def get(self, *what: str) -> dict[str, Any]:
        return self.cluster.get("-n", NAMESPACE, *what)

    def kubectl(self, *arguments: str) -> None:
        self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.get("finetunejob", name).get("status", {})
        return found

    def await_reason(self, name: str, reason: str) -> str:
        def ready() -> dict[str, Any]:
            conditions = self.status(name).get("conditions", [])
            return next((c for c in conditions if c["type"] == "Ready"), {"reason": "", "message": ""})

        try:
            eventually(lambda: ready()["reason"] == reason, f"{name} is {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.status(name)}\n{self.operator.log_text()[-2000:]}") from error
        return str(ready()["message"])

    def told(self, name: str, reason: str) -> str:
        """Waits for the condition and for the Warning of the same reason; the condition's message."""
        message = self.await_reason(name, reason)

        def warned() -> list[str]:
            events = self.get("events.events.k8s.io")["items"]
            of_job = [e for e in events if (e["regarding"]["kind"], e["regarding"]["name"]) == ("FineTuneJob", name)]
            return [e["note"] for e in of_job if (e["type"], e["reason"]) == ("Warning", reason)]

        eventually(warned, f"a Warning {reason} about {name}")
        assert warned()[0][:100] == message[:100]
        return message

    def pods(self, name: str, component: str = "train") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(
            "pods", "-l", f"hearth.dev/name={name},hearth.dev/component={component}"
        )["items"]
        return found

    def train_jobs(self, name: str) -> list[str]:
        """Names of the training Jobs that there are."""
        jobs = self.get("job", "-l", f"hearth.dev/name={name}")["items"]
        return [j["metadata"]["name"] for j in jobs if "-train-" in j["metadata"]["name"]]

    def running(self, name: str, component: str = "train") -> str:
        names: list[str] = []

        def runs() -> bool:
            alive = [p for p in self.pods(name, component) if "deletionTimestamp" not in p["metadata"]]
            names[:] = [p["metadata"]["name"] for p in alive if p["status"].get("phase") == "Running"]
            return bool(names)

        eventually(runs, f"a pod of {name} for {component} runs", 90)
        return names[0]

    def end(self, name: str, code: int, told: dict[str, Any] | None = None, reason: str = "Error") -> str:
        pod = self.running(name)
        message = json.dumps(told) if told is not None else ""
        self.cluster.end_pod(NAMESPACE, pod, exit_code=code, message=message, reason=reason if code else "Completed")
        return pod

    def apply(self, name: str, **spec: Any) -> None:
        """Applies a job on CPU, with a volume that its claim can bind."""
        volume = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/unused"},
            "claimRef": {"namespace": NAMESPACE, "name": f"{name}-artifacts"},
        }
        body = {
            "model": {"uri": "oci://registry.example/models/smollm2:1"},
            "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
            "accelerator": {"count": 0},
            "evaluation": {"metrics": ["ExactMatch"], "gate": {"metric": "ExactMatch", "atLeast": "0.8"}},
        }
        metadata = {"name": f"{NAMESPACE}-{name}"}
        self.cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume})
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply(
            {"apiVersion": "hearth.dev/v1alpha1", "kind": "FineTuneJob", "metadata": placed, "spec": body | spec}
        )

    def rows(self, name: str, text: str) -> None:
        """Applies a ConfigMap of rows."""
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": placed, "data": {"train.jsonl": text}})

    def prepare(self, name: str, *, model: dict[str, Any] | None = None, rows: dict[str, Any] | None = None) -> str:
        """The check's pod ends with what the inspection of the model and the check of the rows have to say.

        An error of the model's is the inspection's own exit; the rows are then never looked at. Returns the pod.
        """
        pod = self.running(name, "prepare")
        wrong = model is not None and "error" in model
        statuses = self.get("pod", pod)["status"]["initContainerStatuses"]
        statuses[0]["state"]["terminated"] |= {"message": json.dumps(model or {"facts": FACTS})}
        if wrong:
            statuses[0]["state"]["terminated"] |= {"exitCode": 66, "reason": "Error"}
        patch = json.dumps({"status": {"initContainerStatuses": statuses}})
        self.kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", patch)
        code = 66 if wrong else 65 if rows is not None and "error" in rows else 0
        self.cluster.end_pod(NAMESPACE, pod, exit_code=code, message=json.dumps(rows or {"result": ROWS}))
        return pod

    def train(self, name: str, **spec: Any) -> None:
        """Applies a job and brings it to a running training pod."""
        self.apply(name, **spec)
        self.prepare(name)
        self.running(name)

    def edit(self, name: str, **spec: Any) -> None:
        self.kubectl("patch", "finetunejob", name, "--type=merge", "-p", json.dumps({"spec": spec}))


@pytest.fixture(scope="module")
def stage(control_plane: Cluster, cpu_nodes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("operator")
    control_plane.kubectl("apply", "--server-side", "-f", str(Path(__file__).parents[2] / "crds"))
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    control_plane.kubectl("wait", "--for=create", "--timeout=30s", "-n", NAMESPACE, "serviceaccount/default")
    control_plane.kubectl("create", "-n", NAMESPACE, "configmap", "rows", "--from-literal=train.jsonl={}")
    settings = folder / "settings.yaml"
    url = f"https://hearth-progress.{NAMESPACE}.svc:{free_port()}"
    images = {name: f"registry.example/hearth/{name}:1" for name in IMAGES}
    settings.write_text(yaml.safe_dump({"images": images, "namespace": NAMESPACE, "progress_url": url}))
    operator = hearth_run(control_plane.kubeconfig, settings, folder / "log", "-n", NAMESPACE)
    eventually(lambda: operator.is_leader() and operator.is_ready(), "the operator is at work", 90)
    yield Stage(control_plane, operator)
    operator.end()
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.fixture(scope="module")
def neighbour(stage: Stage) -> str:
    """A job beside the one in trouble, which has ended well; its version."""
    stage.train("neighbour")
    stage.end("neighbour", 0, {"result": OUTCOME | {"gate": {"passed": True, "reason": "ExactMatch 0.9"}}})
    stage.await_reason("neighbour", "Succeeded")
    return str(stage.get("finetunejob", "neighbour")["metadata"]["resourceVersion"])


@pytest.fixture(autouse=True)
def undisturbed(stage: Stage, neighbour: str) -> Iterator[None]:
    """No trouble of one job costs another one a write."""
    yield
    assert stage.get("finetunejob", "neighbour")["metadata"]["resourceVersion"] == neighbour


def test_an_unknown_model_path_is_told_before_anything_trains(stage: Stage) -> None:
    stage.apply("nowhere")
    error = {"class": "ModelNotFound", "message": "/model/nope does not exist; /model holds: config.json"}
    stage.prepare("nowhere", model={"error": error | {"suggestion": "correct the path in spec.model"}})
    assert stage.told("nowhere", "ModelNotFound") == f"{error['message']}; correct the path in spec.model"
    assert stage.train_jobs("nowhere") == []


def test_a_broken_line_is_named_and_mending_it_recovers(stage: Stage) -> None:
    stage.rows("broken", "{}\n{oops")
    stage.apply("broken", dataset={"train": {"uri": "configMap://broken/train.jsonl"}})
    error = {"class": "MalformedRow", "message": "1 of 2 lines is broken: train.jsonl:2"}
    stage.prepare("broken", rows={"error": error | {"suggestion": "mend the lines"}})
    assert "train.jsonl:2" in stage.told("broken", "MalformedRow")
    assert stage.train_jobs("broken") == []

    stage.rows("broken", "{}\n{}")
    stage.prepare("broken")
    stage.running("broken")
    eventually(lambda: "failure" not in stage.status("broken"), "the status tells of the new pod")


def test_a_missing_config_map_is_named_and_making_it_recovers(stage: Stage) -> None:
    stage.apply("early", dataset={"train": {"uri": "configMap://late/train.jsonl"}})
    assert stage.told("early", "SourceNotFound").startswith("ConfigMap late does not exist in namespace")
    assert stage.status("early")["pending"]["waitingOn"] == ["ConfigMap late"]
    assert stage.pods("early", "prepare") == []

    stage.rows("late", "{}")
    stage.prepare("early")
    stage.running("early")


def test_a_missing_storage_class_is_named_and_training_starts_once_it_exists(stage: Stage) -> None:
    stage.apply("classless", checkpoints={"storage": {"storageClassName": "ftj-fast"}})
    stage.prepare("classless")
    assert stage.told("classless", "StorageClassNotFound").startswith("StorageClass ftj-fast does not exist")
    assert stage.train_jobs("classless") == []
    assert stage.get("pvc", "-l", "hearth.dev/name=classless")["items"] == []

    fast = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "ftj-fast"}}
    stage.cluster.apply(fast | {"provisioner": "csi.example"})
    eventually(lambda: stage.train_jobs("classless"), "the training Job")
    assert stage.get("pvc", "classless-artifacts")["spec"]["storageClassName"] == "ftj-fast"


def test_a_gpu_that_no_node_has_is_told_with_what_the_nodes_have(stage: Stage, gpu_nodes: list[str]) -> None:
    stage.apply("gpu", accelerator={"count": 1, "products": ["NVIDIA-H200"]})
    stage.prepare("gpu")
    message = stage.told("gpu", "Unschedulable")
    assert message.startswith("1 x nvidia.com/gpu with product NVIDIA-H200 wanted")
    assert "4 nodes with 8 x NVIDIA-A100-SXM4-80GB" in message
    assert "2 nodes with 4 x NVIDIA-L4" in message
    assert {p["status"]["phase"] for p in stage.pods("gpu")} <= {"Pending"}


def test_an_image_that_cannot_be_pulled_is_told(stage: Stage) -> None:
    waiting = {"kwok.hearth.dev/waiting-reason": "ImagePullBackOff", "kwok.hearth.dev/waiting-message": "no such tag"}
    stage.apply("imageless", podOverrides={"annotations": waiting})  # they hold for the check of the rows too
    assert "cannot be pulled: no such tag" in stage.told("imageless", "ImagePullFailed")


def test_an_interruption_costs_no_attempt_and_a_kill_costs_one(stage: Stage) -> None:
    stage.train("spot")
    first = stage.end("spot", 75)
    eventually(lambda: stage.running("spot") != first, "another pod after the interruption", 90)
    job = stage.get("job", *stage.train_jobs("spot"))
    assert job["status"].get("failed", 0) == 0, "the Job controller does not count it either"
    second = stage.end("spot", 137)
    eventually(lambda: stage.running("spot") != second, "another pod after the kill", 90)
    eventually(lambda: stage.status("spot").get("attempt") == 2, "the kill is an attempt")
    assert stage.status("spot")["interruptions"] == 1


def test_out_of_memory_is_not_tried_again_until_there_is_more(stage: Stage) -> None:
    stage.train("tight")
    stage.end("tight", 137, reason="OOMKilled")
    message = stage.told("tight", "OOMKilled")
    assert re.search(r"planned were \d+\.\d GiB: weights \d+\.\d GiB, adapter .*, activations .*, overhead", message)
    eventually(lambda: not stage.pods("tight"), "its pods are gone")
    stage.edit("tight", podOverrides={"resources": {"limits": {"memory": "12Gi"}}})
    stage.running("tight")
    eventually(lambda: "failure" not in stage.status("tight"), "the status tells of the new pod")


def test_a_full_disk_ends_the_job_at_once_and_more_room_resumes_it(stage: Stage) -> None:
    stage.train("full", checkpoints={"keep": 8})
    stage.end("full", 73, {"error": {"class": "DiskFull", "message": "the volume is full", "suggestion": "raise it"}})
    assert stage.told("full", "DiskFull") == "the volume is full; raise it"
    (failed,) = stage.pods("full")
    stage.edit("full", checkpoints={"keep": 2})
    assert stage.running("full") != failed["metadata"]["name"]
    eventually(lambda: "failure" not in stage.status("full"), "the status tells of the new pod")


def test_a_gate_that_is_not_met_keeps_the_artifact(stage: Stage) -> None:
    stage.train("weak")
    stage.end("weak", 0, {"result": OUTCOME})
    assert "ExactMatch 0.3000 is below 0.8" in stage.told("weak", "GateNotMet")
    assert [a["kind"] for a in stage.status("weak")["artifacts"]] == ["Merged"]


def test_a_suspended_job_has_no_pods_and_goes_on_under_its_old_name(stage: Stage) -> None:
    stage.train("paused")
    before = stage.train_jobs("paused")
    stage.edit("paused", suspend=True)
    stage.await_reason("paused", "Suspended")
    eventually(lambda: not stage.pods("paused"), "its pods are gone")
    assert stage.get("pvc", "paused-artifacts")["status"]["phase"] == "Bound"
    stage.edit("paused", suspend=False)
    stage.running("paused")
    assert stage.train_jobs("paused") == before


def test_what_defines_the_artifact_cannot_be_changed_once_it_is_made(stage: Stage) -> None:
    stage.train("fixed")
    with pytest.raises(Exception, match=r"spec\.training is fixed once the job has started"):
        stage.edit("fixed", training={"epochs": 9})


def test_the_weights_of_a_deleted_job_stay(stage: Stage) -> None:
    stage.train("gone")
    stage.kubectl("delete", "finetunejob", "gone")
    eventually(lambda: not stage.pods("gone"), "its pods are gone")
    assert stage.get("pvc", "gone-artifacts")["status"]["phase"] == "Bound"
