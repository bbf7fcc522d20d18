"""An index whose embedder asks for API keys: indexer, gateway of the embedder, and gateway that answers from it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from hearth_gateway.app import Gateway
from hearth_gateway.config import Config, RagConfig
from hearth_gateway.errors import ApiError
from hearth_gateway.milvus import MilvusRetriever
from indexer_runs import Indexer
from milvus_server import free_port

pytestmark = pytest.mark.e2e

KEY = "Seville-oranges-41"


@contextmanager
def guarded(upstream: str, keys: Path) -> Iterator[str]:
    """The gateway of an Embed service with keys, on loopback."""
    told = {"service": "team/words", "task": "Embed", "servedName": "words", "keysDirectory": str(keys)}
    gateway = Gateway(Config.model_validate(told | {"upstream": upstream.removesuffix("/v1")}))
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(gateway.app(), host="127.0.0.1", port=port, log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started:
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port}/v1"
    server.should_exit = True
    running.join(10)


@pytest.mark.parametrize("engine", ["lite_server"], indirect=True)
async def test_documents_and_questions_are_embedded_with_the_key_that_is_named(
    index: Indexer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "index").write_text(KEY)
    monkeypatch.setenv("HEARTH_EMBEDDER_KEY_0", KEY)
    with guarded(index.embedder.url, keys) as url:
        asked = {"name": "text", "url": url, "model": "words", "modelDigest": "sha256:1"}
        refused = index(embeddings=[asked]).message["error"]
        assert refused["class"] == "Unavailable"
        assert "401" in refused["message"]
        assert "secretRef" in refused["suggestion"]

        result = index(embeddings=[asked | {"apiKeyEnv": "HEARTH_EMBEDDER_KEY_0"}]).result
        assert result["embeddedNow"] == 36
        assert result["chunking"]["exactTokens"] is True

        config = {
            "index": "handbook",
            "milvus": {"uri": index.engine.uri, "collection": "handbook", "owner": "default/handbook"},
            "embedding": {"url": url, "model": "words", "field": "dense_text"},
        }
        with pytest.raises(ApiError, match="HTTP 401"):
            await MilvusRetriever(RagConfig.model_validate(config)).find("Document 7 > Part 2 Rule 7-2")
        config["embedding"] |= {"apiKeyFile": str(keys / "index")}
        found = await MilvusRetriever(RagConfig.model_validate(config)).find("Document 7 > Part 2 Rule 7-2")
        assert "pvc://library/doc-07.md" in [p.document for p in found.passages]
