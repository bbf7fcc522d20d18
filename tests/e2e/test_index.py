"""The handbook becomes an index on block storage, with a real embedder and real engines, and stays one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hearth_cluster.cluster import Cluster
from helm import Helm
from namespaces import own_namespace
from restricted_pod import NAMESPACE_LABELS, restricted_pod

NAMESPACE = "index-e2e"
HANDBOOK = Path(__file__).resolve().parents[2] / "examples" / "handbook"
DOCUMENTS = len(list((HANDBOOK / "documents").iterdir()))
STANDALONE, SMALL = "handbook", "small"
POD = "handbook-milvus-0"
EMBEDDINGS = [{"name": "text", "serviceRef": {"name": "embedder"}}]
LITE = {"topology": "Lite", "storage": {"size": "1Gi", "storageClassName": "hearth-block"}}
CHUNKING = {"splitter": "Markdown", "size": 128, "overlap": 16}

SEARCH = """
import json, sys, urllib.request
from pymilvus import AnnSearchRequest, MilvusClient, RRFRanker
uri, alias, question, mode = sys.argv[1:]
body = json.dumps({"model": "embedder", "input": [question]}).encode()
request = urllib.request.Request("http://embedder:8000/v1/embeddings", body, {"content-type": "application/json"})
vector = json.load(urllib.request.urlopen(request, timeout=60))["data"][0]["embedding"]
client = MilvusClient(uri, timeout=60)
client.load_collection(alias)
fields = ["document", "text"]
if mode == "Hybrid":
    dense = AnnSearchRequest([vector], "dense_text", {"metric_type": "COSINE"}, limit=20)
    words = AnnSearchRequest([question], "sparse", {"metric_type": "BM25"}, limit=20)
    found = client.hybrid_search(alias, [dense, words], RRFRanker(60), limit=3, output_fields=fields)
else:
    found = client.search(alias, data=[vector], anns_field="dense_text", limit=3, output_fields=fields)
count = client.query(alias, filter="", output_fields=["count(*)"], consistency_level="Strong")[0]["count(*)"]
print(json.dumps({"count": count, "documents": [hit["entity"]["document"] for hit in found[0]]}))
"""

ASK = """
import json, urllib.error, urllib.request
def post(url, body, **headers):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    try:
        return 200, json.load(urllib.request.urlopen(request, timeout=60))
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
chat = "http://guarded:8000/v1/chat/completions"
question = {"messages": [{"role": "user", "content": "How long is the warranty on sensors?"}]}
answer = post(chat, question, authorization="Bearer of-the-day")
other = {"model": "embedder@000000000000", "input": "How long?"}
print(json.dumps({
    "without": post(chat, question)[0], "wrong": post(chat, question, authorization="Bearer guess")[0],
    "with": answer[0], "answer": answer[1], "other model": post("http://embedder:8000/v1/embeddings", other)[0],
}))
"""


def on_block(size: str) -> dict[str, Any]:
    """Milvus on the local cluster's block volumes."""
    return {"topology": "Standalone", "storage": {"size": size, "storageClassName": "hearth-block"}}


class Bench:
    """The namespace of this test."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.asked = 0

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", NAMESPACE, *arguments)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", NAMESPACE)

    def apply(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        placed = {"name": name, "namespace": NAMESPACE}
        self.cluster.apply({"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": placed, "spec": spec})

    def index(self, name: str, milvus: dict[str, Any], **more: Any) -> None:
        sources = [{"name": "handbook", "uri": "configMap://handbook"}]
        spec = {"milvus": milvus, "sources": sources, "embeddings": EMBEDDINGS, "chunking": CHUNKING}
        self.apply("VectorIndex", name, spec | more)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """The condition as it stands for the present spec."""
        found = self.get("vectorindex", name)
        current = found["metadata"]["generation"]
        conditions = found.get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind and c["observedGeneration"] == current), {})

    def await_status(self, name: str, kind: str, status: str, seconds: float) -> dict[str, Any]:
        """Waits for a condition, and gives the whole status then."""
        until(lambda: self.condition(name, kind).get("status") == status, f"{name} {kind}={status}", seconds)
        found: dict[str, Any] = self.get("vectorindex", name)["status"]
        return found

    def search(self, name: str, question: str, mode: str = "Dense") -> dict[str, Any]:
        """What a client in the cluster finds."""
        status = self.get("vectorindex", name)["status"]
        return self.run(SEARCH, status["endpoint"], status["builds"]["alias"], question, mode)

    def run(self, program: str, *arguments: str) -> dict[str, Any]:
        """The last line that a program in a pod prints."""
        self.asked += 1
        pod = f"asker-{self.asked}"
        image = self.cluster.state.images["gateway"]
        self.cluster.apply(restricted_pod(pod, NAMESPACE, image, ["python3", "-c", program, *arguments]))
        self.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{pod}", "--timeout=180s")
        answer: dict[str, Any] = json.loads(self.kubectl("logs", pod).strip().splitlines()[-1])
        return answer


def until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.5)
    return answer


@pytest.fixture(scope="module")
def bench(hearth: Helm) -> Iterator[Bench]:
    cluster = hearth.cluster
    made = Bench(cluster)
    with own_namespace(cluster, NAMESPACE, **NAMESPACE_LABELS):
        made.kubectl("create", "-k", str(HANDBOOK))
        model = {"uri": f"oci://{cluster.state.images['models/all-minilm-l6-v2']}"}
        made.apply("LLMService", "embedder", {"task": "Embed", "model": model, "accelerator": {"count": 0}})
        # Both at once: the engines start, and the indexers, while the embedder does.
        made.index(STANDALONE, on_block("2Gi"))
        made.index(SMALL, LITE)
        yield made


@pytest.fixture(scope="module")
def standalone(bench: Bench) -> str:
    """The handbook in Milvus on block storage."""
    bench.await_status(STANDALONE, "Ready", "True", 900)
    return STANDALONE


@pytest.fixture(scope="module")
def lite(bench: Bench) -> str:
    """The handbook in milvus-lite."""
    bench.await_status(SMALL, "Ready", "True", 900)
    return SMALL


def test_the_handbook_is_indexed_on_a_block_volume(bench: Bench, standalone: str) -> None:
    status = bench.get("vectorindex", standalone)["status"]
    print(json.dumps({k: status[k] for k in ("documents", "chunks", "recall", "index", "capabilities", "resolved")}))

    assert status["documents"] == DOCUMENTS
    assert status["chunks"] == status["embeddedNow"] > DOCUMENTS
    assert status["embeddings"][0]["dimension"] == 384
    assert float(status["recall"]["measured"]) >= 0.95
    assert status["capabilities"] == ["Dense"]
    assert status["resolved"]["exactTokens"] is True
    claim = bench.get("persistentvolumeclaim", status["storage"]["claim"])
    assert claim["spec"]["storageClassName"] == "hearth-block"


@pytest.mark.parametrize(
    ("question", "document"),
    [
        ("How long is the warranty on sensors?", "warranty.html"),
        ("How long does the emergency generator run?", "emergency-plan.pdf"),
        ("Which battery does the Heron-3 use?", "product-heron.md"),
    ],
)
def test_a_question_finds_its_document(bench: Bench, standalone: str, question: str, document: str) -> None:
    assert f"configMap://handbook/{document}" in bench.search(standalone, question)["documents"]


def test_a_gateway_with_keys_looks_up_for_those_who_have_one(bench: Bench, standalone: str) -> None:
    """No engine runs: what is not near enough is declined before a model is asked, and what was looked up is told."""
    bench.kubectl("create", "secret", "generic", "keys", "--from-literal=front-desk=of-the-day")
    embedded = bench.get("vectorindex", standalone)["status"]["embeddings"][0]
    model = {"uri": f"oci://{bench.cluster.state.images['models/smollm2-135m-instruct']}"}
    rag = {"indexRef": {"name": standalone}, "topK": 3, "abstain": {"minSimilarity": "1", "message": "Ask a person."}}
    keys = {"apiKeysSecretRef": {"name": "keys"}}
    spec = {"model": model, "accelerator": {"count": 0}, "replicas": 0, "rag": rag, "access": keys}
    bench.apply("LLMService", "guarded", spec)
    bench.kubectl("wait", "--for=create", "deployment/guarded-gateway", "--timeout=120s")
    bench.kubectl("rollout", "status", "deployment/guarded-gateway", "--timeout=120s")

    told = bench.run(ASK)
    assert (told["without"], told["wrong"], told["with"]) == (401, 401, 200)
    assert told["answer"]["choices"][0]["message"]["content"] == "Ask a person."
    retrieval = told["answer"]["hearth"]["retrieval"]
    assert retrieval["index"] == standalone
    assert "configMap://handbook/warranty.html" in [p["document"] for p in retrieval["passages"]]
    assert embedded["model"].startswith("embedder@"), "the name by which the question was embedded"
    assert told["other model"] == 404
    bench.kubectl("delete", "llmservice", "guarded")


@dataclass
class Killed:
    """An engine's pod that was killed, and what its index was before."""

    uid: str
    status: dict[str, Any]


@pytest.fixture(scope="module")
def killed(bench: Bench, standalone: str) -> Killed:
    """The engine on block storage has just been killed. It takes a minute to come back: others are looked at then."""
    before = Killed(bench.get("pod", POD)["metadata"]["uid"], bench.get("vectorindex", standalone)["status"])
    bench.kubectl("delete", "pod", POD, "--grace-period=0", "--force")
    return before


def test_lite_finds_by_words_and_by_meaning(bench: Bench, lite: str, killed: Killed) -> None:
    status = bench.get("vectorindex", lite)["status"]
    assert set(status["capabilities"]) == {"Dense", "BM25", "Hybrid", "MultiVector"}
    found = bench.search(lite, "What does form ID-6 do?", "Hybrid")
    assert found["documents"][0] == "configMap://handbook/patents-and-ideas.pdf"
    assert found["count"] == status["chunks"]


def test_deleting_an_index_keeps_its_volume_and_a_new_one_takes_it_up(bench: Bench, lite: str, killed: Killed) -> None:
    claim = bench.get("vectorindex", lite)["status"]["storage"]["claim"]
    uid = bench.get("persistentvolumeclaim", claim)["metadata"]["uid"]
    bench.kubectl("delete", "vectorindex", lite, "--timeout=60s")
    bench.kubectl("wait", "--for=delete", "pod/small-milvus-0", "--timeout=120s")
    assert bench.get("persistentvolumeclaim", claim)["metadata"]["uid"] == uid

    bench.index(lite, LITE)
    status = bench.await_status(lite, "Ready", "True", 300)
    assert status["embeddedNow"] == 0
    assert bench.get("persistentvolumeclaim", claim)["metadata"]["uid"] == uid
    bench.kubectl("delete", "vectorindex", lite, "--timeout=60s")


def test_an_engine_that_is_killed_comes_back_with_its_index(bench: Bench, standalone: str, killed: Killed) -> None:
    def is_back() -> bool:
        (pod,) = bench.cluster.get("-n", NAMESPACE, "pods", "--field-selector", f"metadata.name={POD}")["items"] or [
            None
        ]
        ready = pod and any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])
        return bool(ready) and pod["metadata"]["uid"] != killed.uid

    until(is_back, "the engine", 300)
    after = bench.await_status(standalone, "Ready", "True", 120)

    assert after["builds"] == killed.status["builds"]
    assert bench.search(standalone, "Who founded Tallowmere Instruments?")["count"] == killed.status["chunks"]


def test_a_volume_grows_while_the_engine_runs_on(bench: Bench, standalone: str) -> None:
    uid = bench.get("pod", POD)["metadata"]["uid"]
    bench.index(standalone, on_block("3Gi"))

    def template() -> str:
        (claim,) = bench.get("statefulset", "handbook-milvus")["spec"]["volumeClaimTemplates"]
        return str(claim["spec"]["resources"]["requests"]["storage"])

    def grown() -> bool:
        storage = bench.get("vectorindex", standalone)["status"]["storage"]
        return (
            storage.get("capacity") == "3Gi" and bench.kubectl("get", "sts", "-o", "name") != "" and template() == "3Gi"
        )

    until(grown, "the larger volume", 240)
    bench.await_status(standalone, "Ready", "True", 60)
    assert bench.get("pod", POD)["metadata"]["uid"] == uid
    assert int(bench.kubectl("exec", POD, "--", "df", "--output=size", "-m", "/var/lib/milvus").split()[-1]) > 2500


def test_more_than_the_engine_can_do_is_told_and_the_index_serves_on(bench: Bench, standalone: str) -> None:
    before = bench.get("vectorindex", standalone)["status"]["builds"]
    bench.index(standalone, on_block("3Gi"), sparse={"enabled": True})
    bench.await_status(standalone, "Stalled", "True", 240)
    stalled = bench.condition(standalone, "Stalled")

    assert stalled["reason"] == "NotSupported"
    assert "can do only: Dense" in stalled["message"]
    serving = bench.get("vectorindex", standalone)["status"]["builds"]
    assert (serving["active"], serving["collection"]) == (before["active"], before["collection"])
    assert bench.search(standalone, "Who is the fleet manager?")["documents"]

    bench.kubectl("patch", "vectorindex", standalone, "--type=json", "-p", '[{"op": "remove", "path": "/spec/sparse"}]')
    bench.await_status(standalone, "Ready", "True", 60)


def test_a_changed_document_is_read_again_and_only_it_is_embedded(bench: Bench, standalone: str) -> None:
    before = bench.get("vectorindex", standalone)["status"]
    text = (HANDBOOK / "documents" / "vacation.md").read_text(encoding="utf-8").replace("31 days", "33 days")
    bench.kubectl("patch", "configmap", "handbook", "--type=merge", "-p", json.dumps({"data": {"vacation.md": text}}))
    until(
        lambda: (
            bench.get("vectorindex", standalone)["status"]["builds"].get("collection") != before["builds"]["collection"]
        ),
        "the next build",
        300,
    )
    after = bench.await_status(standalone, "Ready", "True", 60)
    assert after["embeddedNow"] == 1
    assert after["chunks"] == before["chunks"]
