"""Services that answer from a VectorIndex."""

import json
from typing import Any

import pytest

RAG = {"indexRef": {"name": "handbook"}, "topK": 4, "abstain": {"minSimilarity": "0.3"}}


def vector_index(**status: Any) -> dict[str, Any]:
    built = {
        "endpoint": "http://handbook-milvus.law.svc.cluster.local:19530",
        "builds": {"active": "b1", "alias": "handbook", "collection": "handbook_b1"},
        "embeddings": [{"name": "text", "serviceRef": {"name": "minilm"}, "model": "minilm", "metric": "Cosine"}],
        "capabilities": ["Dense", "BM25", "Hybrid"],
        "index": {"type": "HNSW", "params": {"M": 16}, "search": {"ef": 256}},
        "resolved": {"sparse": True},
    }
    return {
        "kind": "VectorIndex",
        "metadata": {"name": "handbook", "namespace": "law", "uid": "i1"},
        "status": built | status,
    }


@pytest.fixture
def answering(generate: Any) -> Any:
    generate.edit(rag=RAG)
    generate.reconcile()
    generate.finish_inspection()
    return generate


def config(namespace: Any) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(namespace.gateway_config()["data"]["config.json"])
    return decoded


def test_the_engine_starts_while_the_index_is_built_and_the_gateway_waits(answering: Any) -> None:
    answering.reconcile()
    answering.roll_out()
    answering.pass_time(20)
    answering.reconcile()
    assert ("Deployment", "court-engine") in answering.children
    assert ("Deployment", "court-gateway") not in answering.children
    assert answering.condition("Available")["reason"] == "IndexNotFound"
    answering.others[("VectorIndex", "handbook")] = vector_index(builds={"building": "b1"})
    answering.pass_time(20)
    answering.reconcile()
    assert answering.condition("Available")["reason"] == "IndexNotReady"
    answering.others[("VectorIndex", "handbook")] = vector_index()
    answering.reconcile()
    answering.roll_out()
    answering.reconcile()
    assert answering.condition("Ready")["status"] == "True"


def test_the_gateway_is_told_where_to_search(answering: Any) -> None:
    answering.others[("VectorIndex", "handbook")] = vector_index()
    answering.reconcile()
    assert config(answering)["rag"] == {
        "index": "handbook",
        "milvus": {
            "uri": "http://handbook-milvus.law.svc.cluster.local:19530",
            "collection": "handbook",
            "owner": "law/handbook",
        },
        "embedding": {
            "url": "http://minilm.law.svc.cluster.local:8000/v1",
            "model": "minilm",
            "field": "dense_text",
        },
        "retrieval": "Hybrid",
        "topK": 4,
        "candidates": 40,
        "maxContextTokens": 4096,
        "fusionK": 60,
        "citations": True,
        "minSimilarity": 0.3,
    }
    assert config(answering)["upstream"] == "http://court-engine.law.svc.cluster.local:8000"


def test_the_gateway_is_given_the_keys_of_the_embedder_and_of_milvus(answering: Any) -> None:
    index = vector_index()
    index["status"]["embeddings"][0]["secretRef"] = {"name": "my-key"}
    index["spec"] = {
        "milvus": {"topology": "External", "external": {"uri": "https://m:19530", "secretRef": {"name": "milvus"}}},
        "embeddings": [{"name": "text", "serviceRef": {"name": "the-next-one"}}],
    }
    answering.others[("VectorIndex", "handbook")] = index
    answering.reconcile()

    rag = config(answering)["rag"]
    assert rag["milvus"]["owner"] == "law/handbook@i1"
    assert rag["milvus"]["tokenFile"] == "/etc/hearth-milvus/token"
    assert rag["embedding"]["apiKeyFile"] == "/etc/hearth-embedder/token"
    pod = answering.children[("Deployment", "court-gateway")]["spec"]["template"]["spec"]
    secrets = {v["name"]: v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert secrets == {"milvus-token": "milvus", "embedder-key": "my-key"}
    mounts = {m["name"]: m["mountPath"] for m in pod["containers"][0]["volumeMounts"]}
    assert {mounts["milvus-token"], mounts["embedder-key"]} == {"/etc/hearth-milvus", "/etc/hearth-embedder"}


def test_hybrid_on_an_index_that_cannot_is_told(answering: Any) -> None:
    answering.edit(rag=RAG | {"retrieval": "Hybrid"})
    answering.others[("VectorIndex", "handbook")] = vector_index(capabilities=["Dense"])
    answering.reconcile()
    assert answering.condition("Stalled")["reason"] == "RetrievalNotPossible"
    assert "can only do: Dense" in answering.condition("Ready")["message"]


def test_hybrid_on_an_index_that_was_built_without_words_is_told(answering: Any) -> None:
    answering.edit(rag=RAG | {"retrieval": "Hybrid"})
    answering.others[("VectorIndex", "handbook")] = vector_index(resolved={"sparse": False})
    answering.reconcile()
    assert answering.condition("Stalled")["reason"] == "RetrievalNotPossible"
    assert "was built without words" in answering.condition("Ready")["message"]


@pytest.mark.parametrize(("built", "asked", "retrieval"), [(False, True, "Dense"), (True, False, "Hybrid")])
def test_unset_retrieval_is_what_the_build_that_serves_can_do_whatever_the_next_one_will(
    answering: Any, built: bool, asked: bool, retrieval: str
) -> None:
    index = vector_index(resolved={"sparse": built})
    index["spec"] = {"sparse": {"enabled": asked}}
    answering.others[("VectorIndex", "handbook")] = index
    answering.reconcile()
    assert config(answering)["rag"]["retrieval"] == retrieval


def test_unset_retrieval_is_what_the_index_can_do(answering: Any) -> None:
    answering.others[("VectorIndex", "handbook")] = vector_index(capabilities=["Dense"])
    answering.reconcile()
    assert config(answering)["rag"]["retrieval"] == "Dense"


def test_questions_wait_while_the_index_has_another_models_vectors(answering: Any) -> None:
    answering.others[("VectorIndex", "handbook")] = vector_index()
    answering.reconcile()
    answering.roll_out()
    answering.reconcile()
    before = config(answering)
    said = "LLMService minilm serves model sha256:bbb by now"
    changed = {"type": "EmbeddersMatch", "status": "False", "reason": "EmbedderChanged", "message": said}
    answering.others[("VectorIndex", "handbook")] = vector_index(conditions=[changed])
    answering.pass_time(60)
    answering.reconcile()
    assert answering.condition("Ready")["reason"] == "EmbedderChanged"
    assert answering.condition("Ready")["message"].startswith(f"VectorIndex handbook: {said}")
    assert answering.condition("Stalled")["status"] == "False"
    assert answering.condition("Available")["status"] == "True"
    assert config(answering) == before, "what runs stays: it asks for the old model by its pinned name, and no other"

    built = [{"name": "text", "serviceRef": {"name": "minilm"}, "model": "minilm@bbb", "metric": "Cosine"}]
    answering.others[("VectorIndex", "handbook")] = vector_index(embeddings=built)
    answering.reconcile()
    assert config(answering)["rag"]["embedding"]["model"] == "minilm@bbb"
    answering.roll_out()
    answering.reconcile()
    assert answering.condition("Ready")["status"] == "True"


def test_a_first_gateway_waits_for_vectors_of_the_present_model(answering: Any) -> None:
    changed = {"type": "EmbeddersMatch", "status": "False", "reason": "EmbedderChanged", "message": "another model"}
    answering.others[("VectorIndex", "handbook")] = vector_index(conditions=[changed])
    answering.reconcile()
    assert ("Deployment", "court-engine") in answering.children
    assert ("Deployment", "court-gateway") not in answering.children


def test_an_index_that_is_deleted_leaves_the_gateway_as_it_is(answering: Any) -> None:
    answering.others[("VectorIndex", "handbook")] = vector_index()
    answering.reconcile()
    answering.roll_out()
    answering.reconcile()
    before = config(answering)
    del answering.others[("VectorIndex", "handbook")]
    answering.pass_time(60)
    answering.reconcile()
    assert answering.condition("Ready")["reason"] == "IndexNotFound"
    assert config(answering) == before
    assert ("Deployment", "court-gateway") in answering.children
