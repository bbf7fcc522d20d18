"""What one build comes to on each engine: a measured collection behind an alias, found again at no cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hearth_gateway.config import RagConfig
from hearth_gateway.milvus import MilvusRetriever
from indexer_runs import Indexer, write_document
from milvus_server import RunningEngine
from word_embedder import word_embedder

pytestmark = pytest.mark.e2e

CAPABILITIES = {
    "milvus-lite-3.2.2": ["Dense", "BM25", "Hybrid", "MultiVector"],
    "milvus-2.3.5": ["Dense"],
}


@dataclass
class Served:
    """An index, and what the run that built it said."""

    index: Indexer
    result: dict[str, Any]

    @property
    def engine(self) -> RunningEngine:
        """Where it is."""
        return self.index.engine


@pytest.fixture(scope="module", params=["lite", "milvus"])
def served(
    request: pytest.FixtureRequest,
    next_lite: Callable[[], RunningEngine],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Twelve Markdown documents of three sections each, indexed once; the tests below do not change them."""
    library = tmp_path_factory.mktemp("library")
    for number in range(12):
        write_document(library, number)
    engine: RunningEngine = next_lite() if request.param == "lite" else request.getfixturevalue("started_milvus")
    engine.empty()
    with word_embedder() as embedder:
        index = Indexer(engine, embedder, library)
        yield Served(index, index().result)
    if request.param == "lite":
        engine.stop()


def test_documents_become_a_measured_collection_behind_the_alias(served: Served) -> None:
    result = served.result

    assert (result["documents"], result["chunks"]) == (12, 36)
    assert result["embeddings"] == [{"name": "text", "dimension": 32}]
    assert result["recall"]["k"] == 5
    assert result["recall"]["measured"] >= 0.9
    assert result["embeddedNow"] == 36
    assert served.index.serving() == result["collection"]
    assert served.index.rows() == 36


def test_what_the_engine_can_do_is_found_out(served: Served) -> None:
    expected = CAPABILITIES[served.engine.kind]

    assert served.result["capabilities"] == expected
    assert served.result["sparse"] is ("BM25" in expected)
    assert "handbook_PROBE" not in served.engine.client().list_collections()


def test_a_search_finds_the_passage_with_its_heading(served: Served) -> None:
    query = served.index.embedder.vector("Document 7 > Part 2 Rule 7-2")
    hits = served.engine.client().search(
        "handbook", data=[query], anns_field="dense_text", limit=3, output_fields=["document", "heading", "text"]
    )[0]

    assert "pvc://library/doc-07.md" in [hit["entity"]["document"] for hit in hits]
    assert hits[0]["entity"]["heading"].startswith("Document ")
    assert hits[0]["entity"]["text"].startswith("Rule ")


@pytest.mark.parametrize("candidates", [10, 200])
async def test_a_gateway_finds_passages_with_the_parameters_that_were_measured(served: Served, candidates: int) -> None:
    retrieval = "Hybrid" if "Hybrid" in served.result["capabilities"] else "Dense"
    config = {
        "index": "handbook",
        "milvus": {"uri": served.engine.uri, "collection": "handbook", "owner": "default/handbook"},
        "embedding": {"url": served.index.embedder.url, "model": "words", "field": "dense_text"},
        "candidates": candidates,
        "retrieval": retrieval,
    }
    retriever = MilvusRetriever(RagConfig.model_validate(config))
    found = await retriever.find("Document 7 > Part 2 Rule 7-2")
    await retriever.close()

    assert served.result["index"]["search"] == {"ef": 64}
    assert "pvc://library/doc-07.md" in [p.document for p in found.passages]
    assert len(found.passages) == 5


def test_more_than_the_engine_can_do_is_refused_and_the_running_index_stays(served: Served) -> None:
    refused = served.index(sparse=True)

    if "BM25" in CAPABILITIES[served.engine.kind]:
        assert refused.result["sparse"] is True
    else:
        assert refused.code == 64
        assert refused.message["error"]["class"] == "NotSupported"
        assert "v2.3.5" in refused.message["error"]["message"]
    assert served.index.serving() == served.result["collection"]


def test_an_engine_that_lost_power_serves_the_same_generation_and_nothing_is_embedded_again(served: Served) -> None:
    served.engine.restart()
    served.index.embedder.asked.clear()
    again = served.index().result

    assert (again["collection"], again["recall"]) == (served.result["collection"], served.result["recall"])
    assert again["embeddedNow"] == 0
    assert served.index.embedder.asked == []
    assert served.index.rows() == 36
