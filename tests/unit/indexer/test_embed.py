"""What the embedder's refusals mean for a build."""

import httpx
import pytest
from hearth_indexer.embed import Embedder
from hearth_indexer.outcome import BadDataError, IndexingError, UnavailableError
from hearth_indexer.settings import Embedding
from hearth_indexer.tokens import token_counter

ASKED = Embedding.model_validate({"name": "text", "url": "http://embedder/v1", "model": "minilm@aaaaaaaaaaaa"})


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, UnavailableError), (401, UnavailableError), (403, UnavailableError), (400, BadDataError)],
)
def test_only_what_may_pass_is_tried_again(status: int, error: type[IndexingError]) -> None:
    """404: the pinned model is not served there, by a pod that is on its way out or not yet in. 401: the Secret of
    the key may be mended."""
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(status, text="no")))
    with pytest.raises(error):
        Embedder(client, ASKED).embed(["a text"])


def test_the_key_of_an_embedder_is_sent_with_texts_and_with_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARTH_EMBEDDER_KEY_0", "s3cret")
    seen: list[tuple[str, str | None]] = []

    def embedder(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers.get("authorization")))
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"count": 1, "max_model_len": 256})
        return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]})

    client = httpx.Client(transport=httpx.MockTransport(embedder))
    asked = ASKED.model_copy(update={"api_key_env": "HEARTH_EMBEDDER_KEY_0"})
    assert Embedder(client, asked).embed(["a text"]) == [[1.0]]
    assert token_counter(client, asked.url, asked.model, "s3cret").exact

    assert {path for path, _ in seen} == {"/v1/embeddings", "/tokenize"}
    assert {key for _, key in seen} == {"Bearer s3cret"}
