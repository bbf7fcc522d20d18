"""One generation follows another: only what changed is embedded, and what is gone is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hearth_indexer import recall
from hearth_indexer.recall import search
from indexer_runs import Indexer, write_document
from pymilvus.client.types import LoadState

pytestmark = pytest.mark.e2e


def test_one_changed_document_costs_only_its_changed_chunks(index: Indexer, library: Path) -> None:
    first = index().result
    index.embedder.asked.clear()
    write_document(library, 3, extra="## Part 3\n\nRule 3-3: brand new.\n")
    second = index().result

    assert len(index.embedder.asked) == second["embeddedNow"] == 1
    assert second["reused"] == 36
    assert second["collection"] != first["collection"]
    assert index.rows() == 37


def test_a_document_that_is_gone_is_gone_from_the_index(index: Indexer, library: Path) -> None:
    assert index().code == 0
    (library / "doc-05.md").unlink()

    assert index().result["embeddedNow"] == 0
    assert index.rows() == 33
    assert index.engine.client().query("handbook", filter='document == "pvc://library/doc-05.md"', limit=1) == []


def test_older_generations_are_dropped_beyond_keep_builds(index: Indexer, library: Path) -> None:
    names = []
    for number in (40, 41, 42):
        write_document(library, number)
        names.append(index(keepBuilds=1).result["collection"])

    client = index.engine.client()
    assert set(client.list_collections()) == {"hearth_builds", names[1], names[2]}
    in_memory = {name for name in names[1:] if client.get_load_state(name)["state"] == LoadState.Loaded}
    assert in_memory == {names[2]}, "what is only kept takes no memory"


def test_another_dimension_is_a_new_build_while_the_old_one_serves(index: Indexer) -> None:
    first = index().result
    index.embedder.dimension = 48
    index.embedder.failures = [400]
    changed = [{"name": "text", "url": index.embedder.url, "model": "words", "modelDigest": "sha256:2"}]
    assert index(embeddings=changed).message["error"]["class"] == "BadData"
    assert index.serving() == first["collection"]

    second = index(embeddings=changed).result
    assert second["embeddings"] == [{"name": "text", "dimension": 48}]
    assert second["reused"] == 0
    assert index.serving() == second["collection"]


@pytest.mark.parametrize("engine", ["lite_server"], indirect=True)
def test_a_silent_change_of_dimension_is_noticed(index: Indexer, library: Path) -> None:
    assert index().code == 0
    index.embedder.dimension = 48
    write_document(library, 40)
    result = index().result

    assert result["embeddings"] == [{"name": "text", "dimension": 48}]
    assert result["reused"] == 0


@pytest.mark.parametrize("engine", ["lite_server"], indirect=True)
def test_a_busy_embedder_is_asked_again(index: Indexer) -> None:
    index.embedder.failures = [429, 503]

    assert index().result["embeddedNow"] == 36


@pytest.mark.parametrize("engine", ["lite_server"], indirect=True)
def test_another_recall_target_chooses_search_parameters_anew_and_embeds_nothing(
    index: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall, "search", narrow_graph)
    asked = {"k": 5, "queries": 20}
    first = index(index=asked | {"recallTarget": 0.5}).result
    assert (first["recall"]["measured"], first["index"]["search"]) == (0.6, {"ef": 64})
    index.embedder.asked.clear()

    second = index(index=asked | {"recallTarget": 0.9}).result
    assert (second["recall"]["measured"], second["index"]["search"]) == (1.0, {"ef": 128})
    third = index(index={"k": 4, "queries": 30, "recallTarget": 0.9}).result
    assert (third["recall"]["k"], third["recall"]["queries"]) == (4, 30)
    assert {r["collection"] for r in (second, third)} == {first["collection"]}
    assert index.embedder.asked == []


def narrow_graph(*asked: Any) -> list[list[str]]:
    """The engine's answers, of which a search with the narrowest setting misses all but three.

    A graph of so few chunks finds everything, however narrowly it is searched.
    """
    found = search(*asked)
    return [ids[:3] for ids in found] if asked[-1] == {"ef": 64} else found
