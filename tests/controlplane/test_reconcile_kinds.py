"""`hearth run` with its three kinds on a real API server and scheduler: children, ownership, results, silence.

Pods run on fake nodes; where a container would have left a result, the test writes it in the container's place.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hearth_cluster.cluster import Cluster
from hearth_cluster.fakenodes import has_fate
from kind_results import FACTS, INDEXED, ROWS, TRAINED
from operator_process import OperatorProcess, eventually, free_port, hearth_run

ROOT = Path(__file__).parents[2]
IMAGES = ("trainer", "indexer", "gateway", "vllm", "vllm_cpu", "milvus", "milvus_lite")
MODEL = "oci://registry.example/models/smollm2:1"


def resource(kind: str, name: str, **spec: object) -> dict:
    return {"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def chat(name: str = "chat", **spec: object) -> dict:
    return resource("LLMService", name, **{"model": {"uri": MODEL}, "accelerator": {"count": 0}, **spec})


def tune(name: str = "tune", **spec: object) -> dict:
    base = {
        "model": {"uri": MODEL},
        "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
        "accelerator": {"count": 0},
        "evaluation": {"metrics": ["JSONFieldF1"], "gate": {"metric": "JSONFieldF1", "atLeast": "0.8"}},
    }
    return resource("FineTuneJob", name, **{**base, **spec})


class Stage:
    """A namespace that `hearth run` serves."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path) -> None:
        self.cluster, self.namespace, self.folder = cluster, namespace, folder
        self.settings = folder / "settings.yaml"
        images = {name: f"registry.example/hearth/{name}:1" for name in IMAGES}
        url = f"https://hearth-progress.{namespace}.svc:{free_port()}"
        self.settings.write_text(yaml.safe_dump({"images": images, "namespace": namespace, "progress_url": url}))
        self.operators: list[OperatorProcess] = []

    def start(self) -> OperatorProcess:
        operator = hearth_run(
            self.cluster.kubeconfig, self.settings, self.folder / f"{len(self.operators)}.log", "-n", self.namespace
        )
        self.operators.append(operator)
        eventually(lambda: operator.is_leader() and operator.is_ready(), "the operator is at work", 90)
        return operator

    def apply(self, *objects: dict) -> None:
        for obj in objects:
            obj["metadata"]["namespace"] = self.namespace
        self.cluster.apply(*objects)

    def get(self, *what: str) -> dict:
        return self.cluster.get("-n", self.namespace, *what)

    def condition(self, kind: str, name: str, type_: str) -> dict:
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def await_condition(self, kind: str, name: str, type_: str, status: str = "True", reason: str = "") -> dict:
        def holds() -> bool:
            found = self.condition(kind, name, type_)
            return found.get("status") == status and reason in ("", found.get("reason"))

        try:
            eventually(holds, f"{kind} {name} has {type_}={status} {reason}")
        except AssertionError as error:
            told = json.dumps(self.get(kind, name).get("status"), indent=1)
            raise AssertionError(f"{error}\n{told}\n{self.operators[-1].log_text()[-3000:]}") from error
        return self.condition(kind, name, type_)

    def running_pod(self, component: str) -> str:
        """Waits for a pod of the component that runs, and has not been told to end, and returns its name."""
        found: list[str] = []

        def runs() -> bool:
            pods = self.get("pods", "-l", f"hearth.dev/component={component}")["items"]
            running = [p for p in pods if p.get("status", {}).get("phase") == "Running" and not has_fate(p)]
            found[:] = [p["metadata"]["name"] for p in running]
            return bool(found)

        eventually(runs, f"a pod of {component} runs")
        return found[0]

    def end_pod(self, component: str, told: dict, code: int = 0) -> None:
        """The container of a Job's pod leaves its result and ends."""
        pod = self.running_pod(component)
        self.cluster.end_pod(self.namespace, pod, exit_code=code, message=json.dumps(told))

    def tell_from_init_container(self, component: str, name: str, told: dict) -> None:
        """An init container has left its result."""
        pod = self.running_pod(component)
        statuses = self.get("pod", pod)["status"]["initContainerStatuses"]
        for status in statuses:
            if status["name"] == name:
                status["state"]["terminated"]["message"] = json.dumps(told)
        patch = json.dumps({"status": {"initContainerStatuses": statuses}})
        self.cluster.kubectl(
            "patch", "pod", pod, "-n", self.namespace, "--subresource=status", "--type=merge", "-p", patch
        )

    def provide_volume(self, claim: str, storage_class: str | None = None) -> None:
        """A volume for one claim; without a CSI driver nobody else makes one."""
        spec = {
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/unused"},
            "claimRef": {"namespace": self.namespace, "name": claim},
        }
        spec |= {"storageClassName": storage_class} if storage_class else {}
        meta = {"name": f"{self.namespace}-{claim}"}
        self.cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta, "spec": spec})

    def children(self, owner: dict) -> set[str]:
        """Everything in the namespace that the owner controls."""
        kinds = "deployments,statefulsets,jobs,services,configmaps,persistentvolumeclaims,poddisruptionbudgets"
        items = self.get(kinds)["items"]
        uid = owner["metadata"]["uid"]
        return {
            f"{o['kind']}/{o['metadata']['name']}"
            for o in items
            for r in o["metadata"].get("ownerReferences", ())
            if r["uid"] == uid and r.get("controller")
        }

    def versions(self) -> dict[str, str]:
        """The resourceVersion of everything that the operator may write."""
        kinds = (
            "finetunejobs,vectorindexes,llmservices,deployments,statefulsets,jobs,services,configmaps,"
            "persistentvolumeclaims,poddisruptionbudgets,events.events.k8s.io"
        )
        items = self.get(kinds)["items"]
        names = ("Event",)
        return {
            f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"]
            for o in items
            if o["kind"] not in names or o.get("reportingController") == "hearth.dev/operator"
        }

    def settle(self) -> None:
        """Waits until nothing was written for longer than a status is ever held back."""
        writes, since = -1.0, time.monotonic()

        def is_quiet() -> bool:
            nonlocal writes, since
            if self.operators[-1].writes() != writes:
                writes, since = self.operators[-1].writes(), time.monotonic()
            return time.monotonic() - since > 11

        eventually(is_quiet, "the operator has come to rest")

    def is_silent(self) -> None:
        """Nothing is written at rest, nor by the next operator's start."""
        operator = self.operators[-1]
        self.settle()
        before, versions = operator.writes(), self.versions()
        passes = operator.metric("hearth_reconcile_seconds_count")
        # A label, because an annotation counts as a new generation of a Deployment.
        self.cluster.kubectl("label", "-n", self.namespace, "deployments", "--all", "--overwrite", "test-touch=1")
        eventually(lambda: operator.metric("hearth_reconcile_seconds_count") > passes, "the touch woke a pass", 15)
        assert operator.writes() == before
        assert operator.stop() == 0
        again = self.start()
        owners = sum(len(self.get(kind)["items"]) for kind in ("finetunejobs", "vectorindexes", "llmservices"))
        eventually(lambda: again.metric("hearth_reconcile_seconds_count") >= owners, "every resource is looked at")
        assert again.writes() == 0
        changed = {name for name, version in self.versions().items() if versions.get(name) != version}
        assert {name for name in changed if not name.startswith("Deployment/")} == set()

    def serve(self, name: str) -> None:
        """Up to a Ready LLMService: its model is inspected, its pods run."""
        self.end_pod("inspect", {"facts": FACTS})
        self.await_condition("llmservice", name, "Ready")


@pytest.fixture
def stage(control_plane: Cluster, cpu_nodes: list[str], namespace: str, tmp_path: Path) -> Iterator[Stage]:
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.await_definitions()
    stage = Stage(control_plane, namespace, tmp_path)
    yield stage
    for operator in stage.operators:
        operator.end()


def test_a_service_becomes_ready_with_its_children_and_falls_silent(stage: Stage) -> None:
    operator = stage.start()
    stage.apply(chat())
    stage.serve("chat")
    owner = stage.get("llmservice", "chat")
    children = stage.children(owner)
    assert {name for name in children if not name.startswith("Job/")} >= {
        "Deployment/chat-engine",
        "Service/chat-engine",
        "Service/chat",
    }
    writes = operator.metric("hearth_api_requests_total", verb="apply", resource="llmservices/status")
    assert writes <= 3, "waiting for the model's facts, starting, Ready"
    assert owner["status"]["observedGeneration"] == owner["metadata"]["generation"]
    assert owner["status"]["url"] == f"http://chat.{stage.namespace}.svc.cluster.local:8000/v1"
    stage.is_silent()


def test_kubectl_scale_adds_engine_pods(stage: Stage) -> None:
    stage.start()
    stage.apply(chat())
    stage.serve("chat")
    stage.cluster.kubectl("scale", "-n", stage.namespace, "llmservice", "chat", "--replicas=2")
    eventually(lambda: stage.get("deployment", "chat-engine")["status"].get("readyReplicas") == 2, "two engines")
    stage.await_condition("llmservice", "chat", "Ready")
    assert stage.get("llmservice", "chat")["status"]["replicas"] == 2


def test_a_deleted_service_takes_its_children_along(stage: Stage) -> None:
    stage.start()
    stage.apply(chat())
    stage.serve("chat")
    owner = stage.get("llmservice", "chat")
    stage.cluster.kubectl("delete", "-n", stage.namespace, "llmservice", "chat", "--timeout=30s")
    eventually(lambda: stage.children(owner) == set(), "no child is left")


def test_gpus_are_asked_for_where_they_are(stage: Stage, gpu_nodes: list[str]) -> None:
    stage.start()
    stage.apply(chat(accelerator={"count": 1, "minMemory": "40G"}))
    stage.serve("chat")
    pod = stage.get("pods", "-l", "hearth.dev/component=engine")["items"][0]
    node = stage.get("node", pod["spec"]["nodeName"])
    assert node["metadata"]["labels"]["nvidia.com/gpu.product"] == "NVIDIA-A100-SXM4-80GB"


def test_gpus_that_no_node_has_are_told_with_what_the_nodes_have(stage: Stage, gpu_nodes: list[str]) -> None:
    stage.start()
    stage.apply(chat(accelerator={"count": 1, "products": ["NVIDIA-H200"]}))
    stage.end_pod("inspect", {"facts": FACTS})

    def is_told() -> bool:
        told = json.dumps(stage.get("llmservice", "chat").get("status", {}))
        return "NVIDIA-L4" in told and "NVIDIA-A100-SXM4-80GB" in told

    eventually(is_told, "the status names the GPUs that there are")
    assert stage.condition("llmservice", "chat", "Ready")["status"] == "False"


def test_a_job_trains_publishes_and_is_served(stage: Stage) -> None:
    stage.start()
    stage.apply(tune())
    told = stage.await_condition("finetunejob", "tune", "Ready", "False")
    assert "rows" in told["message"]
    stage.cluster.kubectl("create", "-n", stage.namespace, "configmap", "rows", "--from-literal=train.jsonl={}")
    stage.provide_volume("tune-artifacts")
    stage.tell_from_init_container("prepare", "inspect", {"facts": FACTS})
    stage.end_pod("prepare", {"result": ROWS})
    stage.end_pod("train", {"result": TRAINED})
    stage.await_condition("finetunejob", "tune", "Ready")
    owner = stage.get("finetunejob", "tune")
    claim = stage.get("pvc", "tune-artifacts")["metadata"]
    assert "ownerReferences" not in claim, "trained weights outlive the job unless its deletionPolicy says otherwise"
    assert claim["labels"]["hearth.dev/name"] == "tune"
    assert {a["kind"] for a in owner["status"]["artifacts"]} == {"Adapter", "Merged"}
    stage.apply(chat("tuned", model={"fromFineTune": {"name": "tune"}}))
    stage.await_condition("llmservice", "tuned", "Ready")
    stage.is_silent()


def test_an_index_is_built_served_and_asked(stage: Stage) -> None:
    stage.start()
    stage.provide_volume("data-handbook-milvus-0")
    stage.apply(
        chat("embedder", task="Embed"),
        resource(
            "VectorIndex",
            "handbook",
            milvus={"topology": "Standalone", "storage": {"size": "2Gi"}},
            sources=[{"name": "handbook", "uri": "configMap://handbook"}],
            embeddings=[{"name": "text", "serviceRef": {"name": "embedder"}}],
        ),
        chat("assistant", rag={"indexRef": {"name": "handbook"}}),
    )
    stage.cluster.kubectl("create", "-n", stage.namespace, "configmap", "handbook", "--from-literal=a.md=Hello")
    for _ in range(2):
        stage.end_pod("inspect", {"facts": FACTS})
    stage.await_condition("llmservice", "embedder", "Ready")
    stage.end_pod("index", {"result": INDEXED})
    stage.await_condition("vectorindex", "handbook", "Ready")
    owner = stage.get("vectorindex", "handbook")
    assert {"StatefulSet/handbook-milvus", "Service/handbook-milvus"} <= stage.children(owner)
    assert owner["status"]["builds"]["alias"] == "handbook"
    stage.await_condition("llmservice", "assistant", "Ready")
    stage.is_silent()


def test_a_volume_grows_and_keeps_its_data_where_it_goes_with_the_index(stage: Stage) -> None:
    stage.start()
    expands = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "expands"}}
    stage.cluster.apply({**expands, "provisioner": "csi.example", "allowVolumeExpansion": True})
    name = "data-handbook-milvus-0"
    stage.provide_volume(name, "expands")
    stage.apply(handbook("2Gi"))
    pod = stage.get("pod", stage.running_pod("milvus"))["metadata"]["uid"]

    def owners() -> list[str]:
        references = stage.get("pvc", name)["metadata"].get("ownerReferences", [])
        return [r["uid"] for r in references if r["kind"] == "StatefulSet"]

    engine = stage.get("statefulset", "handbook-milvus")["metadata"]["uid"]
    eventually(lambda: owners() == [engine], "the volume goes with the engine")
    claim = stage.get("pvc", name)["metadata"]["uid"]

    stage.apply(handbook("4Gi"))
    made: list[dict] = []

    def made_again() -> bool:
        made[:] = [s for s in stage.get("statefulsets")["items"] if s["metadata"]["uid"] != engine]
        return bool(made)

    eventually(made_again, "the engine is made again")
    template = made[0]["spec"]["volumeClaimTemplates"][0]["spec"]
    assert template["resources"]["requests"]["storage"] == "4Gi"
    eventually(lambda: owners() == [made[0]["metadata"]["uid"]], "the volume goes with the new one")
    stage.settle()
    after = stage.get("pvc", name)
    assert after["metadata"]["uid"] == claim
    assert "deletionTimestamp" not in after["metadata"]
    assert after["spec"]["resources"]["requests"]["storage"] == "4Gi"
    assert stage.get("pod", "handbook-milvus-0")["metadata"]["uid"] == pod, "the engine ran on"

    stage.cluster.kubectl("delete", "-n", stage.namespace, "vectorindex", "handbook", "--timeout=30s")
    eventually(lambda: stage.get("pvc")["items"] == [], "the volume goes with the index")


def handbook(size: str) -> dict:
    return resource(
        "VectorIndex",
        "handbook",
        milvus={"topology": "Standalone", "storage": {"size": size, "storageClassName": "expands"}},
        sources=[{"name": "handbook", "uri": "configMap://handbook"}],
        embeddings=[{"name": "text", "serviceRef": {"name": "embedder"}}],
        deletionPolicy="Delete",
    )
