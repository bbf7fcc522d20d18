"""Rendered objects, reviewed as text. `HEARTH_GOLDEN=write` writes the files anew; read the difference then."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.base import Json
from hearth.api.llmservice import LLMServiceSpec
from hearth.api.shapes import Accelerator
from hearth.render.gateway import Index, gateway_config, gateway_config_map, gateway_deployment
from hearth.render.network_policy import engine_behind_gateway
from hearth.render.vllm import EngineChoice, disruption_budget, engine_deployment, service

GOLDEN = Path(__file__).parent / "golden"
OWNER: Json = {"kind": "LLMService", "metadata": {"name": "court", "namespace": "law"}}
GIB = 2**30


def choice(**changes: Any) -> EngineChoice:
    cpu: dict[str, Any] = {
        "image": "registry/vllm-cpu@sha256:0",
        "uri": "oci://registry/smollm2@sha256:1",
        "digest": "sha256:" + "a" * 64,
        "verify": False,
        "served_name": "court",
        "device": "CPU",
        "accelerator": Accelerator(count=0),
        "max_model_len": 2048,
        "max_concurrency": 16,
        "weight_bytes": 269_030_016,
        "kv_cache_bytes": GIB,
        "memory_bytes": int(2.6 * GIB),
    }
    return EngineChoice(**cpu | changes)


def spec(**fields: Any) -> LLMServiceSpec:
    return LLMServiceSpec.model_validate({"model": {"uri": "oci://x"}} | fields)


def cpu_engine() -> list[Json]:
    return [
        engine_deployment(OWNER, spec(), choice(), 1),
        service(OWNER, "court-engine", "engine"),
        disruption_budget(OWNER, "engine"),
    ]


def gpu_engine() -> list[Json]:
    wanted = spec(
        model={"uri": "hf://Qwen/Qwen3-32B@main", "secretRef": {"name": "hub"}},
        engine={"dtype": "BFloat16", "args": {"enable-prefix-caching": "true", "swap-space": "4"}},
        scheduling={"queueName": "team-a", "priorityClassName": "serving"},
        rollout={"drainDeadline": "2m", "revisionHistoryLimit": 5},
    )
    chosen = choice(
        image="registry/vllm@sha256:0",
        uri="hf://Qwen/Qwen3-32B@main",
        device="GPU",
        accelerator=Accelerator(count=2, min_memory="80G", min_compute_capability="8.9"),
        max_model_len=32768,
        max_concurrency=256,
        weight_bytes=65 * 10**9,
        kv_cache_bytes=0,
        memory_bytes=4 * GIB,
    )
    return [engine_deployment(OWNER, wanted, chosen, 2)]


def tuned_embedder() -> list[Json]:
    wanted = spec(task="Embed", model={"fromFineTune": {"name": "embedder"}})
    source = "pvc://embedder-artifacts/artifacts/merged-0123456789ab"
    return [engine_deployment(OWNER, wanted, choice(uri=source, verify=True, kv_cache_bytes=0), 1)]


def rag_gateway() -> list[Json]:
    wanted = spec(
        sampling={"temperature": "0", "maxTokens": 128, "seed": 7, "lock": ["temperature"]},
        prompt={"system": "Answer in one sentence."},
        access={"apiKeysSecretRef": {"name": "court-keys"}},
        rag={"indexRef": {"name": "handbook"}, "retrieval": "Hybrid", "abstain": {"minSimilarity": "0.3"}},
        gateway={"replicas": 2, "requestTimeout": "2m"},
    )
    index = Index(
        name="handbook",
        endpoint="http://handbook-milvus.law.svc.cluster.local:19530",
        collection="handbook",
        owner="law/handbook",
        embedding_url="http://minilm.law.svc.cluster.local:8000/v1",
        embedding_model="minilm",
        field="dense_text",
        query_prefix="query: ",
        capabilities=("Dense", "Hybrid"),
    )
    config = gateway_config(
        OWNER, wanted, served_name="court", domain="cluster.local", max_model_len=2048, max_concurrency=16, index=index
    )
    config_map = gateway_config_map(OWNER, config)
    return [
        config_map,
        gateway_deployment(OWNER, wanted, "registry/gateway@sha256:0", config_map["metadata"]["name"]),
        service(OWNER, "court", "gateway"),
        engine_behind_gateway(OWNER),
    ]


@pytest.mark.parametrize("build", [cpu_engine, gpu_engine, tuned_embedder, rag_gateway], ids=lambda b: b.__name__)
def test_objects_are_rendered_as_reviewed(build: Any) -> None:
    path = GOLDEN / f"{build.__name__}.yaml"
    text = yaml.safe_dump_all(build(), sort_keys=False, width=120)
    if os.environ.get("HEARTH_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "fields",
    [
        {"replicas": 5},
        {"gateway": {"replicas": 3}},
        {"gateway": {"requestTimeout": "2m"}},
        {"sampling": {"temperature": "0.5"}},
        {"prompt": {"system": "x"}},
        {"rag": {"indexRef": {"name": "handbook"}}},
        {"access": {"apiKeysSecretRef": {"name": "k"}}},
        {"engine": {"maxQueued": 5}},
        {"rollout": {"revisionHistoryLimit": 9}},
    ],
)
def test_what_the_engine_does_not_read_restarts_no_engine_pod(fields: dict[str, Any]) -> None:
    before = engine_deployment(OWNER, spec(), choice(), 1)
    after = engine_deployment(OWNER, spec(**fields), choice(), 1)
    assert after["spec"]["template"] == before["spec"]["template"]


@pytest.mark.parametrize(
    "changed",
    [choice(max_model_len=1024), choice(digest="sha256:" + "b" * 64), choice(image="other"), choice(served_name="x")],
)
def test_what_the_engine_reads_is_a_new_revision(changed: EngineChoice) -> None:
    before = engine_deployment(OWNER, spec(), choice(), 1)["spec"]["template"]
    assert engine_deployment(OWNER, spec(), changed, 1)["spec"]["template"] != before


@pytest.mark.parametrize(
    ("task", "served", "named"),
    [
        ("Generate", "e5", ["--served-model-name=e5"]),
        ("Embed", "court", ["--served-model-name", "court", "court@aaaaaaaaaaaa"]),
        ("Embed", "e5", ["--served-model-name", "e5", "court@aaaaaaaaaaaa", "e5@aaaaaaaaaaaa"]),
    ],
)
def test_an_embedder_answers_to_its_pinned_name_whatever_it_is_served_as(
    task: str, served: str, named: list[str]
) -> None:
    template = engine_deployment(OWNER, spec(task=task), choice(served_name=served), 1)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    _, *arguments = container["args"]
    assert arguments[: len(named) + 1] == [*named, "--port=8000"]


def test_a_cpu_engine_has_the_executor_that_its_owner_asks_for() -> None:
    asked = spec(engine={"args": {"distributed-executor-backend": "mp"}})
    (container,) = engine_deployment(OWNER, asked, choice(), 1)["spec"]["template"]["spec"]["containers"]
    told = [word for word in container["args"] if word.startswith("--distributed-executor-backend")]
    assert told == ["--distributed-executor-backend=mp"]


@pytest.mark.parametrize(("uri", "offline"), [("hf://o/m@main", "0"), ("oci://x", "1"), ("pvc://weights/m", "1")])
def test_an_engine_asks_the_hub_for_a_model_from_there_alone(uri: str, offline: str) -> None:
    """Whatever the image says: that for CPUs is offline."""
    template = engine_deployment(OWNER, spec(model={"uri": uri}), choice(uri=uri), 1)["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert [e["value"] for e in container["env"] if e["name"] == "HF_HUB_OFFLINE"] == [offline]
