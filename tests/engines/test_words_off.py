"""An engine that can search by words, and an index that was built without them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hearth.api.llmservice import LLMServiceSpec
from hearth.plan.index_reference import index_key, resolve_index
from hearth.plan.settings import Images, Settings
from hearth.plan.world import World
from hearth.render.gateway import gateway_config
from hearth_gateway.config import RagConfig
from hearth_gateway.milvus import MilvusRetriever
from indexer_runs import Indexer

pytestmark = pytest.mark.e2e

OWNER = {"metadata": {"name": "assistant", "namespace": "default"}}


def gateway_of(index: Indexer, result: dict[str, Any]) -> RagConfig:
    """What the operator tells the gateway of a service that leaves rag.retrieval open."""
    status = {
        "endpoint": index.engine.uri,
        "builds": {"active": "b1", "alias": result["alias"], "collection": result["collection"]},
        "embeddings": [{"name": "text", "serviceRef": {"name": "words"}, "model": "words", "metric": "Cosine"}],
        "capabilities": result["capabilities"],
        "resolved": {"sparse": result["sparse"]},
    }
    placed = {"name": "handbook", "namespace": "default"}
    asked = {"model": {"uri": "oci://model"}, "rag": {"indexRef": {"name": "handbook"}}}
    spec = LLMServiceSpec.model_validate(asked)
    related = {index_key(OWNER, "handbook"): {"metadata": placed, "status": status}}
    found = resolve_index(World(OWNER, Settings(images=_images()), related=related), spec)
    assert found is not None
    assert found.index is not None
    there = replace(found.index, embedding_url=index.embedder.url)
    made = gateway_config(
        OWNER, spec, served_name="assistant", domain="", max_model_len=2048, max_concurrency=1, index=there
    )
    return RagConfig.model_validate(made["rag"])


def _images() -> Images:
    return Images(**dict.fromkeys(Images.model_fields, "none"))


@pytest.mark.parametrize("engine", ["lite_server"], indirect=True)
async def test_questions_are_answered_by_meaning_where_the_index_was_built_without_words(index: Indexer) -> None:
    result = index(sparse=False).result
    assert "Hybrid" in result["capabilities"]
    told = gateway_of(index, result)
    assert told.retrieval == "Dense"
    retriever = MilvusRetriever(told)
    found = await retriever.find("Document 7 > Part 2 Rule 7-2")
    await retriever.close()

    assert "pvc://library/doc-07.md" in [p.document for p in found.passages]
