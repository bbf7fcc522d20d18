"""A service moves from a base model to a tuned one, with real engines, while thousands of requests come in.

The tuned model is what a FineTuneJob leaves behind: an artifact with a manifest on a claim, named by the job's status.
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

NAMESPACE = "rollout-e2e"
SERVICE = "assistant"
REQUESTS = 2000
WORKERS = 8

WRITE_ARTIFACT = """
import hashlib, json, pathlib, shutil
made = pathlib.Path("/volume/artifacts/new")
shutil.copytree("/model", made)
tokenizer = json.loads((made / "tokenizer_config.json").read_text())
(made / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"tuned": True}))
files = [
    {"path": p.name, "size": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
    for p in sorted(made.iterdir())
]
text = json.dumps(files, sort_keys=True, separators=(",", ":"))
digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
(made / "manifest.json").write_text(json.dumps({"version": 1, "kind": "Merged", "digest": digest, "files": files}))
made.rename(made.with_name("merged-" + digest[7:19]))
print(digest)
"""


def until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(2)
    return answer


class Bench:
    """The namespace of this test."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.base = f"oci://{cluster.state.images['models/smollm2-135m-instruct']}"

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.cluster.get(*arguments, "-n", NAMESPACE)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def apply(self, kind: str, name: str, spec: dict[str, Any], version: str = "v1", **metadata: Any) -> None:
        placed = {"name": name, "namespace": NAMESPACE, **metadata}
        self.cluster.apply({"apiVersion": version, "kind": kind, "metadata": placed, "spec": spec})

    def serve(self, model: dict[str, Any], **more: Any) -> None:
        engine = {"maxModelLen": 1024, "maxConcurrency": 8}
        spec = {"model": model, "engine": engine, "rollout": {"drainDeadline": "90s"}, **more}
        self.apply("LLMService", SERVICE, spec, "hearth.dev/v1alpha1")

    def conditions(self) -> dict[str, dict[str, Any]]:
        service = self.get("llmservice", SERVICE)
        current = service["metadata"]["generation"]
        conditions = service.get("status", {}).get("conditions", [])
        return {c["type"]: c for c in conditions if c["observedGeneration"] == current}

    def ready(self) -> bool:
        return self.conditions().get("Ready", {}).get("status") == "True"

    def warned(self, reason: str) -> bool:
        """Whether a Warning with this reason was told about the service."""
        events = self.get("events.events.k8s.io")["items"]
        of_service = [e for e in events if e["regarding"]["name"] == SERVICE and e["type"] == "Warning"]
        return any(e["reason"] == reason for e in of_service)

    def engine_pods(self) -> list[dict[str, Any]]:
        return self.get("pods", "-l", f"hearth.dev/name={SERVICE},hearth.dev/component=engine")["items"]

    def run(self, name: str, image: str, command: list[str], **volumes: dict[str, Any]) -> None:
        """A pod under the restricted standard that runs once."""
        spec = {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532},
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": command,
                    "volumeMounts": [{"name": n, "mountPath": f"/{n}"} for n in volumes],
                }
            ],
            "volumes": [{"name": n, **source} for n, source in volumes.items()],
        }
        self.apply("Pod", name, spec)

    def finished(self, name: str, seconds: int) -> str:
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{name}", f"--timeout={seconds}s")
        return self.kubectl("logs", name).strip()


@pytest.fixture(scope="module")
def bench(hearth: Helm) -> Iterator[Bench]:
    cluster = hearth.cluster
    made = Bench(cluster)
    with own_namespace(cluster, NAMESPACE):
        # The engine starts while the artifact is written.
        made.serve({"uri": made.base})
        yield made


@pytest.fixture(scope="module")
def artifact(bench: Bench) -> str:
    """An artifact on a claim, and the FineTuneJob that points to it; the artifact's digest."""
    images = bench.cluster.state.images
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    bench.apply("PersistentVolumeClaim", "tuner-artifacts", claim | {"storageClassName": "hearth-block"})
    volumes = {
        "model": {"image": {"reference": images["models/smollm2-135m-instruct"]}},
        "volume": {"persistentVolumeClaim": {"claimName": "tuner-artifacts"}},
    }
    bench.run("writer", images["gateway"], ["python3", "-c", WRITE_ARTIFACT], **volumes)
    digest = bench.finished("writer", 180)
    spec = {
        "model": {"uri": "oci://example/base"},
        "dataset": {"train": {"uri": "configMap://rows/train.jsonl"}},
    }
    hands_off = {"annotations": {"hearth.dev/reconcile": "disabled"}}
    bench.apply("FineTuneJob", "tuner", spec, "hearth.dev/v1alpha1", **hands_off)
    uri = f"pvc://tuner-artifacts/artifacts/merged-{digest[7:19]}"
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    done = {"type": "Ready", "status": "True", "reason": "Succeeded", "message": "done", "lastTransitionTime": now}
    status = {
        "conditions": [done],
        "gate": {"passed": True, "reason": "for this test"},
        "artifacts": [{"kind": "Merged", "uri": uri, "digest": digest, "size": 269_000_000}],
    }
    patch = json.dumps({"status": status})
    bench.kubectl("patch", "finetunejob", "tuner", "--subresource=status", "--type=merge", "-p", patch)
    return digest


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
    bench.run("asker", bench.cluster.state.images["gateway"], ["python3", "-c", ask])
    assert bench.finished("asker", 120) == "assistant"
    memory = bench.get("llmservice", SERVICE)["status"]["memory"]
    assert [item["name"] for item in memory["items"]] == ["weights", "kv-cache", "activations", "overhead"]


def test_an_image_that_cannot_be_pulled_leaves_the_old_pod_serving(bench: Bench, base: str) -> None:
    before = {p["metadata"]["name"] for p in bench.engine_pods()}
    image = bench.cluster.state.images["gateway"].partition("@")[0] + ":no-such-tag"
    bench.serve({"uri": base}, engine={"maxModelLen": 1024, "maxConcurrency": 8, "image": image})
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
    bench.serve({"uri": base}, engine={"maxModelLen": 1024, "maxConcurrency": 8, "args": {"frobnicate": "1"}})
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
    url = f"http://{SERVICE}.{NAMESPACE}.svc:8000/v1/chat/completions"
    command = ["python3", "-c", script, url, SERVICE, str(WORKERS), str(REQUESTS)]
    bench.run("load", bench.cluster.state.images["gateway"], command)
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
    service = bench.get("llmservice", SERVICE)
    assert service["status"]["model"]["digest"] == artifact
    (pod,) = bench.engine_pods()
    assert pod["metadata"]["annotations"]["hearth.dev/model-digest"] == artifact
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0


def test_kubectl_scale_changes_the_engine(bench: Bench, artifact: str) -> None:
    bench.kubectl("scale", "llmservice", SERVICE, "--replicas=0")
    until(lambda: not bench.engine_pods(), "the engine pods to be gone", 400)
    until(lambda: bench.conditions().get("Ready", {}).get("reason") == "ScaledToZero", "the condition", 60)
    assert bench.get("llmservice", SERVICE)["status"]["replicas"] == 0
