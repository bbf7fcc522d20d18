"""What the embedder's refusals mean for a build."""

import httpx
import pytest
from hearth_indexer.embed import Embedder
from hearth_indexer.outcome import BadDataError, IndexingError, UnavailableError
from hearth_indexer.settings import Embedding, bearer
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


@pytest.mark.parametrize("value", ["s3cret", "s3cret\n"])
def test_the_key_of_an_embedder_is_sent_with_texts_and_with_what_is_counted(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("HEARTH_EMBEDDER_KEY_0", value)
    seen: list[tuple[str, str | None]] = []

    def embedder(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers.get("authorization")))
        if request.url.path == "/tokenize":
            return httpx.Response(200, json={"count": 1, "max_model_len": 256})
        return httpx.Response(200, json={"data": [{"index": 0, "embedding": [1.0]}]})

    client = httpx.Client(transport=httpx.MockTransport(embedder))
    asked = ASKED.model_copy(update={"api_key_env": "HEARTH_EMBEDDER_KEY_0"})
    assert Embedder(client, asked).embed(["a text"]) == [[1.0]]
    assert token_counter(client, asked.url, asked.model, bearer(asked.api_key_env)).exact

    assert {path for path, _ in seen} == {"/v1/embeddings", "/tokenize"}
    assert {key for _, key in seen} == {"Bearer s3cret"}


@pytest.mark.parametrize("value", ["s3cret\nother", "s3cret\rother", "s3cret\x7f", "s3cret…"])
def test_a_key_that_no_header_can_carry_is_told_and_never_quoted(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HEARTH_EMBEDDER_KEY_0", value)
    asked = ASKED.model_copy(update={"api_key_env": "HEARTH_EMBEDDER_KEY_0"})
    with pytest.raises(UnavailableError, match="HEARTH_EMBEDDER_KEY_0 is not one line of printable ASCII") as refused:
        Embedder(httpx.Client(), asked)
    assert "s3cret" not in str(refused.value.as_json())
