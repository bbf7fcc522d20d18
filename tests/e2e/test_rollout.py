"""A service moves from a base model to one that was fine-tuned from it, while thousands of requests come in.

The trainer's artifact, the engines, and in the end an index that the tuned model answers from are real. The model has
SmolLM2's tokenizer and architecture, but two narrow layers with random weights: two cores answer thousands of requests
with it in minutes, and where a request goes does not depend on what the answer says.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hearth_cluster.cluster import Cluster
from helm import Helm
from namespaces import own_namespace
from restricted_pod import NAMESPACE_LABELS, restricted_pod

NAMESPACE = "rollout-e2e"
SERVICE = "assistant"
REQUESTS = 2000
WORKERS = 16
ONE_THREAD = [{"name": "OMP_NUM_THREADS", "value": "1"}]
"""What a narrow model multiplies is too small to share."""
ENGINE = {"maxModelLen": 2048, "maxConcurrency": 16, "dtype": "Float32", "env": ONE_THREAD}
"""Every processor multiplies float32; 16 bits are emulated where it has no instructions for them, four times slower."""

RECORDS = Path(__file__).resolve().parents[2] / "examples" / "court-records"
DOCUMENTS = Path(__file__).resolve().parents[2] / "examples" / "handbook" / "documents"

MAKE = """
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
config = AutoConfig.from_pretrained("/base")
narrow = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 2, "num_key_value_heads": 1}
config.update({**narrow, "head_dim": 64, "num_hidden_layers": 2})
torch.manual_seed(0)
AutoModelForCausalLM.from_config(config).save_pretrained("/claim/model")
AutoTokenizer.from_pretrained("/base").save_pretrained("/claim/model")
"""

ASK = """
import json, sys, urllib.request
def post(**more):
    body = {"messages": [{"role": "user", "content": sys.argv[2]}], "max_tokens": 24, **more}
    request = urllib.request.Request(sys.argv[1], json.dumps(body).encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request, timeout=120).read().decode()
whole = json.loads(post())
events = post(stream=True).split("\\n\\n")
chunks = [json.loads(e[6:]) for e in events if e.startswith("data: {")]
print(json.dumps({
    "said": whole["choices"][0]["message"]["content"], "whole": whole["hearth"],
    "streamed": "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]),
    "stream": next(c["hearth"] for c in chunks if "hearth" in c), "done": "data: [DONE]" in events,
}))
"""


def until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
    return answer


class Bench:
    """The namespace of this test."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.base = "pvc://small/model"

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get(*arguments, "-n", NAMESPACE)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def apply(self, kind: str, name: str, spec: dict[str, Any], version: str = "v1", **metadata: Any) -> None:
        placed = {"name": name, "namespace": NAMESPACE, **metadata}
        self.cluster.apply({"apiVersion": version, "kind": kind, "metadata": placed, "spec": spec})

    def serve(self, model: dict[str, Any], **more: Any) -> None:
        spec = {"model": model, "engine": ENGINE, "rollout": {"drainDeadline": "90s"}, **more}
        self.apply("LLMService", SERVICE, spec, "hearth.dev/v1alpha1")

    def make_base(self) -> None:
        """The small model, on a volume of its own."""
        size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "320Mi"}}}
        self.apply("PersistentVolumeClaim", "small", {"storageClassName": "hearth-block", **size})
        folders = {
            "/base": {"image": {"reference": self.cluster.state.images["models/smollm2-135m-instruct"]}},
            "/claim": {"persistentVolumeClaim": {"claimName": "small"}},
        }
        self.run("maker", ["python", "-c", MAKE], "trainer", folders)
        self.finished("maker", 300)

    def tune(self) -> None:
        """A few steps on a few court records."""
        lines = {n: (RECORDS / f"{n}.jsonl").read_text(encoding="utf-8").splitlines() for n in ("train", "eval")}
        data = {"train.jsonl": "\n".join(lines["train"][:12]), "eval.jsonl": "\n".join(lines["eval"][:2])}
        self.config_map("records", data)
        spec = {
            "model": {"uri": self.base},
            "dataset": {name: {"uri": f"configMap://records/{name}.jsonl"} for name in ("train", "eval")},
            "training": {"maxSteps": 6, "globalBatchSize": 2, "microBatchSize": 1, "learningRate": "1e-3"},
            "accelerator": {"count": 0},
            "podOverrides": {"env": ONE_THREAD},
            "checkpoints": {"storage": {"size": "2Gi", "storageClassName": "hearth-block"}},
            "evaluation": {"metrics": ["Loss"], "gate": {"metric": "Loss", "beats": ["base"]}},
        }
        self.apply("FineTuneJob", "tuner", spec, "hearth.dev/v1alpha1")

    def index(self) -> None:
        """A few pages of the handbook, in milvus-lite."""
        pages = [DOCUMENTS / name for name in ("vacation.md", "warranty.html", "bicycles.md", "canteen.md")]
        self.config_map("handbook", {page.name: page.read_text(encoding="utf-8") for page in pages})
        model = {"uri": f"oci://{self.cluster.state.images['models/all-minilm-l6-v2']}"}
        embedder = {"task": "Embed", "model": model, "accelerator": {"count": 0}}
        self.apply("LLMService", "embedder", embedder, "hearth.dev/v1alpha1")
        spec = {
            "milvus": {"topology": "Lite", "storage": {"size": "1Gi", "storageClassName": "hearth-block"}},
            "sources": [{"name": "handbook", "uri": "configMap://handbook"}],
            "embeddings": [{"name": "text", "serviceRef": {"name": "embedder"}}],
            "chunking": {"splitter": "Markdown", "size": 128, "overlap": 16},
        }
        self.apply("VectorIndex", "handbook", spec, "hearth.dev/v1alpha1")

    def config_map(self, name: str, data: dict[str, str]) -> None:
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": placed, "data": data})

    def conditions(self) -> dict[str, dict[str, Any]]:
        service = self.get("llmservice", SERVICE)
        current = service["metadata"]["generation"]
        conditions = service.get("status", {}).get("conditions", [])
        return {c["type"]: c for c in conditions if c["observedGeneration"] == current}

    def indexed(self) -> bool:
        conditions = self.get("vectorindex", "handbook").get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)

    def ready(self) -> bool:
        return self.conditions().get("Ready", {}).get("status") == "True"

    def warned(self, reason: str) -> bool:
        """Whether a Warning with this reason was told about the service."""
        events = self.get("events.events.k8s.io")["items"]
        of_service = [e for e in events if e["regarding"]["name"] == SERVICE and e["type"] == "Warning"]
        return any(e["reason"] == reason for e in of_service)

    def engine_pods(self) -> list[dict[str, Any]]:
        return self.get("pods", "-l", f"hearth.dev/name={SERVICE},hearth.dev/component=engine")["items"]

    def run(
        self, name: str, command: list[str], image: str = "gateway", folders: dict[str, dict[str, Any]] | None = None
    ) -> None:
        """A pod that runs once; `folders` are sources of volumes by the path where they are mounted."""
        self.cluster.apply(restricted_pod(name, NAMESPACE, self.cluster.state.images[image], command, folders))

    def finished(self, name: str, seconds: int) -> str:
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", f"--timeout={seconds}s")
        return self.kubectl("logs", name).strip()


@pytest.fixture(scope="module")
def bench(hearth: Helm) -> Iterator[Bench]:
    cluster = hearth.cluster
    made = Bench(cluster)
    with own_namespace(cluster, NAMESPACE, **NAMESPACE_LABELS):
        made.index()
        made.make_base()
        # At once: nothing has to wait for anything else.
        made.serve({"uri": made.base})
        made.tune()
        yield made


@pytest.fixture(scope="module")
def artifact(bench: Bench) -> str:
    """The digest of the merged model that the FineTuneJob left behind."""
    until(lambda: bench.get("finetunejob", "tuner").get("status", {}).get("completionTime"), "the tuned model", 900)
    status = bench.get("finetunejob", "tuner")["status"]
    assert status["gate"]["passed"] is True, status
    return str(next(a["digest"] for a in status["artifacts"] if a["kind"] == "Merged"))


@pytest.fixture(scope="module")
def base(bench: Bench, artifact: str) -> str:
    """The URI of the base model, which the service serves."""
    until(bench.ready, "the base model to answer", 900)
    return bench.base


def test_a_ready_service_has_answered_through_its_gateway(bench: Bench, base: str) -> None:
    ask = (
        "import json, urllib.request as u;"
        f"b = json.dumps({{'messages': [{{'role': 'user', 'content': 'Hi'}}], 'max_tokens': 3}}).encode();"
        f"r = u.Request('http://{SERVICE}.{NAMESPACE}.svc:8000/v1/chat/completions', b, "
        "{'content-type': 'application/json'});"
        "print(json.load(u.urlopen(r, timeout=60))['choices'][0]['message']['role'])"
    )
    bench.run("asker", ["python3", "-c", ask])
    assert bench.finished("asker", 120) == "assistant"
    memory = bench.get("llmservice", SERVICE)["status"]["memory"]
    assert [item["name"] for item in memory["items"]] == ["weights", "kv-cache", "activations", "overhead"]


def test_an_image_that_cannot_be_pulled_leaves_the_old_pod_serving(bench: Bench, base: str) -> None:
    before = {p["metadata"]["name"] for p in bench.engine_pods()}
    image = bench.cluster.state.images["gateway"].partition("@")[0] + ":no-such-tag"
    bench.serve({"uri": base}, engine=ENGINE | {"image": image})
    until(lambda: bench.conditions().get("Stalled", {}).get("status") == "True", "the refusal", 120)
    stalled = bench.conditions()["Stalled"]
    assert stalled["reason"] == "ImagePullFailed"
    assert f"image {image} cannot be pulled" in stalled["message"]
    assert bench.conditions()["Available"]["status"] == "True"
    assert before <= {p["metadata"]["name"] for p in bench.engine_pods()}
    until(lambda: bench.warned("ImagePullFailed"), "a Warning", 15)
    bench.serve({"uri": base})
    until(lambda: {p["metadata"]["name"] for p in bench.engine_pods()} == before, "the new pod to go", 60)


def test_an_argument_that_the_engine_rejects_leaves_the_old_pod_serving(bench: Bench, base: str) -> None:
    before = {p["metadata"]["name"] for p in bench.engine_pods()}
    bench.serve({"uri": base}, engine=ENGINE | {"args": {"frobnicate": "1"}})
    until(lambda: bench.conditions().get("Stalled", {}).get("status") == "True", "the rejection", 600)
    stalled = bench.conditions()["Stalled"]
    assert stalled["reason"] == "EngineArgumentRejected"
    assert "unrecognized arguments: --frobnicate=1" in stalled["message"]
    until(lambda: bench.warned("EngineArgumentRejected"), "a Warning", 15)
    assert bench.conditions()["Available"]["status"] == "True"
    assert before <= {p["metadata"]["name"] for p in bench.engine_pods()}
    bench.serve({"uri": base})
    until(bench.ready, "the service to be ready again", 300)
    assert {p["metadata"]["name"] for p in bench.engine_pods() if "deletionTimestamp" not in p["metadata"]} == before


def test_rolling_to_the_tuned_model_under_load_loses_no_request(bench: Bench, base: str, artifact: str) -> None:
    script = (Path(__file__).parent / "load_client.py").read_text()
    url = f"http://{SERVICE}.{NAMESPACE}.svc:8000/v1"
    command = ["python3", "-c", script, url, SERVICE, str(WORKERS), str(REQUESTS)]
    bench.run("load", command)
    bench.kubectl("wait", "--for=condition=Ready", "pod/load", "--timeout=60s")
    until(lambda: "started" in bench.kubectl("logs", "load"), "the load to begin", 60)
    old = {p["metadata"]["name"] for p in bench.engine_pods()}

    bench.serve({"fromFineTune": {"name": "tuner"}})
    until(bench.ready, "the tuned model to serve", 1500)
    until(lambda: not old & {p["metadata"]["name"] for p in bench.engine_pods()}, "the old pods to be gone", 400)
    bench.kubectl("exec", "load", "--", "touch", "/tmp/stop")

    result = json.loads(bench.finished("load", 1200).splitlines()[-1])
    print(result)
    assert result["lost"] == []
    assert result["answered"] == result["sent"] >= REQUESTS
    assert result["long"] >= 10, "answers of many seconds were under way as well"
    service = bench.get("llmservice", SERVICE)
    assert service["status"]["model"]["digest"] == artifact
    (pod,) = bench.engine_pods()
    assert pod["metadata"]["annotations"]["hearth.dev/model-digest"] == artifact
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_the_tuned_model_answers_from_an_index_whole_and_as_a_stream(bench: Bench, artifact: str) -> None:
    until(bench.indexed, "the index", 600)
    before = {p["metadata"]["name"] for p in bench.engine_pods()}
    bench.serve({"fromFineTune": {"name": "tuner"}}, rag={"indexRef": {"name": "handbook"}, "topK": 2})
    until(bench.ready, "the gateway with the index", 300)
    assert {p["metadata"]["name"] for p in bench.engine_pods()} == before, "an index rolls the gateway alone"

    url = f"http://{SERVICE}.{NAMESPACE}.svc:8000/v1/chat/completions"
    bench.run("reader", ["python3", "-c", ASK, url, "How long is the warranty on sensors?"])
    told = json.loads(bench.finished("reader", 180).splitlines()[-1])
    print(told)
    for about in (told["whole"], told["stream"]):
        assert about["retrieval"]["mode"] == "Hybrid", "what Lite can do"
        assert about["retrieval"]["passages"][0]["document"] == "configMap://handbook/warranty.html"
    assert told["said"]
    assert told["streamed"]
    assert told["done"]


def test_kubectl_scale_changes_the_engine(bench: Bench, artifact: str) -> None:
    bench.kubectl("scale", "llmservice", SERVICE, "--replicas=0")
    until(lambda: not bench.engine_pods(), "the engine pods to be gone", 400)
    until(lambda: bench.conditions().get("Ready", {}).get("reason") == "ScaledToZero", "the condition", 60)
    assert bench.get("llmservice", SERVICE)["status"]["replicas"] == 0
