"""A gateway that has not been told of a new build: it answers from what it can follow, and refuses the rest."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError
from hearth_gateway.milvus import MilvusRetriever
from indexer_runs import Indexer
from word_embedder import word_embedder

pytestmark = pytest.mark.e2e

QUESTION = "Document 7 > Part 2 Rule 7-2"


@pytest.fixture
async def told_once(index: Indexer) -> AsyncIterator[MilvusRetriever]:
    """What a gateway searches with that was told of the first build, and of no other."""
    index()
    config = {
        "index": "handbook",
        "milvus": {"uri": index.engine.uri, "collection": "handbook", "owner": "default/handbook"},
        "embedding": {"url": index.embedder.url, "model": "words", "field": "dense_text"},
        "retrieval": "Hybrid",
    }
    made = MilvusRetriever(RagConfig.model_validate(config))
    assert "pvc://library/doc-07.md" in [p.document for p in (await made.find(QUESTION)).passages]
    yield made
    await made.close()


def embedding(index: Indexer, **changes: Any) -> list[dict[str, Any]]:
    made_by = {"name": "text", "url": index.embedder.url, "model": "words", "modelDigest": "sha256:1"}
    return [made_by | changes]


@pytest.mark.parametrize(
    "changes",
    [
        {"embeddings": {"metric": "Euclidean"}},
        {"index": {"type": "IVF_FLAT", "k": 5, "queries": 20}},
        {"sparse": False, "keepBuilds": 0},
    ],
    ids=["metric", "index type", "words"],
)
async def test_another_way_to_search_the_same_vectors_is_followed(
    index: Indexer, told_once: MilvusRetriever, changes: dict[str, Any]
) -> None:
    asked = {k: embedding(index, **v) if k == "embeddings" else v for k, v in changes.items()}
    assert index(**asked).result["embeddedNow"] == 0
    found = await told_once.find(QUESTION)

    assert "pvc://library/doc-07.md" in [p.document for p in found.passages]
    assert found.best_similarity is not None
    assert 0 < found.best_similarity <= 1.001
    if "sparse" in changes:
        assert found.mode == "Dense"


async def test_vectors_of_another_embedder_are_not_compared_with_questions_of_the_old_one(
    index: Indexer, told_once: MilvusRetriever
) -> None:
    with word_embedder() as other:
        assert index(embeddings=embedding(index, url=other.url, model="more-words")).result["embeddedNow"] == 36
        index.embedder.asked.clear()
        with pytest.raises(ApiError, match="has the vectors of more-words by now") as refused:
            await told_once.find(QUESTION)
    assert refused.value.status == 503
    assert index.embedder.asked == []
