"""How a question becomes a vector, and what is said where it does not."""

import json

import httpx
import pytest
from hearth_gateway.config import RagConfig
from hearth_gateway.errors import ApiError
from hearth_gateway.milvus import MilvusRetriever

CONFIG = RagConfig.model_validate(
    {
        "index": "handbook",
        "milvus": {"uri": "http://nowhere:19530", "collection": "handbook"},
        "embedding": {"url": "http://embedder/v1", "model": "minilm@aaaaaaaaaaaa", "field": "dense_text"},
    }
)


async def asked_of(answer: httpx.Response) -> tuple[ApiError, list[dict[str, str]]]:
    """What a question comes to where the embedder answers so, and what the embedder was asked."""
    seen: list[dict[str, str]] = []

    def embedder(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content))
        return answer

    retriever = MilvusRetriever(CONFIG, httpx.MockTransport(embedder))
    with pytest.raises(ApiError) as caught:
        await retriever.find("How many days?")
    await retriever.close()
    return caught.value, seen


async def test_a_question_is_embedded_by_the_pinned_model_and_no_other() -> None:
    error, seen = await asked_of(httpx.Response(404, json={"error": {"message": "does not exist"}}))
    assert [body["model"] for body in seen] == ["minilm@aaaaaaaaaaaa"]
    assert error.status == 503
    assert "index handbook was made with minilm@aaaaaaaaaaaa, which its embedder serves no longer" in str(error)


async def test_an_embedder_that_fails_is_named() -> None:
    error, _ = await asked_of(httpx.Response(500))
    assert error.status == 503
    assert "the embedder minilm@aaaaaaaaaaaa does not answer" in str(error)
