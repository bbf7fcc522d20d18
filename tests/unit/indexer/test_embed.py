"""What the embedder's refusals mean for a build."""

import httpx
import pytest
from hearth_indexer.embed import Embedder
from hearth_indexer.outcome import BadConfigurationError, BadDataError, IndexingError, UnavailableError
from hearth_indexer.settings import Embedding

ASKED = Embedding.model_validate({"name": "text", "url": "http://embedder/v1", "model": "minilm@aaaaaaaaaaaa"})


@pytest.mark.parametrize(
    ("status", "error"), [(404, UnavailableError), (401, BadConfigurationError), (400, BadDataError)]
)
def test_only_what_may_pass_is_tried_again(status: int, error: type[IndexingError]) -> None:
    """404: the pinned model is not served there, by a pod that is on its way out or not yet in."""
    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(status, text="no")))
    with pytest.raises(error):
        Embedder(client, ASKED).embed(["a text"])
