"""The indexer against real engines: what serves is always complete, and nothing is embedded twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hearth_indexer.outcome import IndexingError
from hearth_indexer.progress import Progress
from hearth_indexer.run import run
from hearth_indexer.settings import RunSettings

pytestmark = pytest.mark.e2e

WORDS = tuple(
    f"{color}{thing}"
    for color in ("amber", "cedar", "ember", "ivory")
    for thing in ("fjord", "glade", "kelp", "lane", "mill", "quay", "ridge", "vale")
)


@dataclass
class Outcome:
    """How a run of the indexer ended."""

    code: int
    message: dict[str, Any]
    log: str

    @property
    def result(self) -> dict[str, Any]:
        """The result, of a run that succeeded."""
        assert self.code == 0, self.log[-2000:]
        return dict(self.message["result"])


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Forty Markdown documents of three sections each."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number in range(40):
        write_document(folder, number)
    return folder


def write_document(folder: Path, number: int, extra: str = "") -> None:
    """Document `number`, always with the same words."""
    sections = []
    for section in range(3):
        words = [WORDS[(number * 7 + section * 11 + i * (number + 3)) % len(WORDS)] for i in range(14)]
        sections.append(f"## Part {section}\n\nRule {number}-{section}: {' '.join(words)}.\n")
    (folder / f"doc-{number:02}.md").write_text(f"# Document {number}\n\n{''.join(sections)}{extra}", encoding="utf-8")


@pytest.fixture
def index(tmp_path: Path, engine: Any, embedder: Any, library: Path) -> Callable[..., Outcome]:
    """Runs the indexer as its container would; keywords change the configuration."""

    def index_run(kill_before: str | None = None, **changes: Any) -> Outcome:
        config = {
            "owner": "default/handbook",
            "alias": "handbook",
            "milvus": {"uri": engine.uri},
            "sources": [{"name": "library", "uri": "pvc://library", "path": str(library)}],
            "chunking": {"splitter": "Markdown", "size": 64, "overlap": 8},
            "embeddings": [{"name": "text", "url": embedder.url, "model": "words", "modelDigest": "sha256:1"}],
            "index": {"recallTarget": 0.9, "k": 5, "queries": 30},
            **changes,
        }
        if kill_before is None:
            return in_this_process(config)
        return in_a_process_that_is_killed(config, kill_before, tmp_path)

    return index_run


def in_this_process(config: dict[str, Any]) -> Outcome:
    """An ordinary run. A process of its own would spend a second on imports."""
    try:
        return Outcome(0, {"result": run(RunSettings.model_validate(config), Progress({}))}, "")
    except IndexingError as error:
        return Outcome(error.exit_code, {"error": error.as_json()}, error.message)


def in_a_process_that_is_killed(config: dict[str, Any], kill_before: str, folder: Path) -> Outcome:
    """A run as its container would do it, that is killed just before a call of the engine."""
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    message = folder / "termination-log"
    message.unlink(missing_ok=True)
    environment = os.environ | {
        "HEARTH_CONFIG": str(folder / "config.json"),
        "HEARTH_TERMINATION_LOG": str(message),
        "KILL_BEFORE": kill_before if "#" in kill_before else f"{kill_before}#1",
    }
    command = [sys.executable, "-c", KILLED_BEFORE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    told = json.loads(message.read_text(encoding="utf-8")) if message.exists() else {}
    return Outcome(done.returncode, told, done.stderr)


KILLED_BEFORE = """
import os, re, signal, sys
from pymilvus import MilvusClient
from hearth_indexer import __main__, build
build.STEP = 8
moment, nth = os.environ["KILL_BEFORE"].split("#")
seen = 0
def watched(name, method):
    def wrapper(self, collection, *args, **kwargs):
        global seen
        seen += re.fullmatch(moment, f"{name} {collection}") is not None
        if seen == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
        return method(self, collection, *args, **kwargs)
    return wrapper
for name in moment.partition(" ")[0].split("|"):
    setattr(MilvusClient, name, watched(name, getattr(MilvusClient, name)))
sys.exit(__main__.main())
"""
"""Kills itself, as an out-of-memory killer would, just before a call of the engine: `METHOD COLLECTION#n-th`."""

BUILD = "handbook_[0-9a-f]{12}"
"""Any generation, and not the collection in which capabilities are probed."""


def rows_behind(engine: Any, alias: str) -> int:
    """Rows that a reader of the alias sees."""
    client = engine.client()
    client.load_collection(alias)
    found = client.query(alias, filter="", output_fields=["count(*)"], consistency_level="Strong")
    return int(found[0]["count(*)"])


def test_documents_become_a_measured_collection_behind_the_alias(engine: Any, embedder: Any, index: Any) -> None:
    result = index().result

    assert (result["documents"], result["chunks"]) == (40, 120)
    assert result["embeddings"] == [{"name": "text", "dimension": 32}]
    assert result["recall"]["k"] == 5
    assert result["recall"]["measured"] >= 0.9
    assert result["embeddedNow"] == len(embedder.asked) == 120
    assert engine.client().describe_alias("handbook")["collection_name"] == result["collection"]
    assert rows_behind(engine, "handbook") == 120


def test_what_the_engine_can_do_is_found_out(engine: Any, index: Any) -> None:
    expected = {
        "milvus-lite-3.2.2": ["Dense", "BM25", "Hybrid", "MultiVector"],
        "milvus-2.3.5": ["Dense"],
    }
    result = index().result

    assert result["capabilities"] == expected[engine.kind]
    assert result["sparse"] is ("BM25" in expected[engine.kind])
    assert "handbook_probe" not in engine.client().list_collections()


def test_a_search_finds_the_passage_with_its_heading(engine: Any, embedder: Any, index: Any) -> None:
    assert index().code == 0
    query = embedder.vector("Document 17 > Part 2 Rule 17-2")
    hits = engine.client().search(
        "handbook", data=[query], anns_field="dense_text", limit=3, output_fields=["document", "heading", "text"]
    )[0]

    assert "pvc://library/doc-17.md" in [hit["entity"]["document"] for hit in hits]
    assert hits[0]["entity"]["heading"].startswith("Document ")
    assert hits[0]["entity"]["text"].startswith("Rule ")


def test_unchanged_sources_are_not_embedded_again(embedder: Any, index: Any) -> None:
    first = index().result
    embedder.asked.clear()
    second = index().result

    assert embedder.asked == []
    assert second["embeddedNow"] == 0
    assert (second["collection"], second["recall"]) == (first["collection"], first["recall"])


def test_one_changed_document_costs_only_its_changed_chunks(
    engine: Any, embedder: Any, index: Any, library: Path
) -> None:
    first = index().result
    embedder.asked.clear()
    write_document(library, 3, extra="## Part 3\n\nRule 3-3: brand new.\n")
    second = index().result

    assert len(embedder.asked) == second["embeddedNow"] == 1
    assert second["reused"] == 120
    assert second["collection"] != first["collection"]
    assert rows_behind(engine, "handbook") == 121


def test_a_document_that_is_gone_is_gone_from_the_index(engine: Any, index: Any, library: Path) -> None:
    assert index().code == 0
    (library / "doc-05.md").unlink()

    assert index().result["embeddedNow"] == 0
    assert rows_behind(engine, "handbook") == 117
    assert engine.client().query("handbook", filter='document == "pvc://library/doc-05.md"', limit=1) == []


def test_older_generations_are_dropped_beyond_keep_builds(engine: Any, index: Any, library: Path) -> None:
    names = []
    for number in (40, 41, 42):
        write_document(library, number)
        names.append(index(keepBuilds=1).result["collection"])

    assert set(engine.client().list_collections()) == {"hearth_builds", names[1], names[2]}


def test_another_dimension_is_a_new_build_while_the_old_one_serves(engine: Any, embedder: Any, index: Any) -> None:
    first = index().result
    embedder.dimension = 48
    embedder.failures = [400]
    changed = [{"name": "text", "url": embedder.url, "model": "words", "modelDigest": "sha256:2"}]
    assert index(embeddings=changed).message["error"]["class"] == "BadData"
    assert engine.client().describe_alias("handbook")["collection_name"] == first["collection"]

    second = index(embeddings=changed).result
    assert second["embeddings"] == [{"name": "text", "dimension": 48}]
    assert second["reused"] == 0
    assert engine.client().describe_alias("handbook")["collection_name"] == second["collection"]


def test_a_silent_change_of_dimension_is_noticed(embedder: Any, index: Any, library: Path) -> None:
    assert index().code == 0
    embedder.dimension = 48
    write_document(library, 40)
    result = index().result

    assert result["embeddings"] == [{"name": "text", "dimension": 48}]
    assert result["reused"] == 0


def test_more_than_the_engine_can_do_is_refused_and_the_running_index_stays(engine: Any, index: Any) -> None:
    first = index().result
    refused = index(sparse=True)

    if engine.kind == "milvus-2.3.5":
        assert refused.code == 64
        assert refused.message["error"]["class"] == "NotSupported"
        assert "v2.3.5" in refused.message["error"]["message"]
        assert engine.client().describe_alias("handbook")["collection_name"] == first["collection"]
    else:
        assert refused.result["sparse"] is True


def test_a_busy_embedder_is_asked_again(embedder: Any, index: Any) -> None:
    embedder.failures = [429, 503]

    assert index().result["embeddedNow"] == 120


@pytest.mark.parametrize("collection", ["hearth_builds", BUILD], ids=["ledger", "generation"])
def test_a_run_killed_before_it_made_an_index_is_mended_by_the_next(engine: Any, index: Any, collection: str) -> None:
    assert index(kill_before=f"create_index {collection}").code == -9

    assert index().code == 0
    assert rows_behind(engine, "handbook") == 120


def test_what_a_killed_run_left_does_not_stop_the_build_of_other_documents(
    engine: Any, index: Any, library: Path
) -> None:
    assert index(kill_before=f"create_index {BUILD}").code == -9
    write_document(library, 40)

    assert index().code == 0
    assert rows_behind(engine, "handbook") == 123
    assert len(engine.client().list_collections()) == 2, "the ledger and one generation"


@pytest.mark.parametrize(
    "moment", [f"insert {BUILD}#2", f"flush {BUILD}", "upsert hearth_builds#2", f"alter_alias {BUILD}"]
)
def test_killed_at_any_moment_the_alias_stands_for_a_complete_generation(
    engine: Any, embedder: Any, index: Any, library: Path, moment: str
) -> None:
    before = index().result
    write_document(library, 40)
    write_document(library, 41)
    embedder.asked.clear()
    killed = index(kill_before=moment)
    spent = len(embedder.asked)

    assert killed.code == -9
    assert engine.client().describe_alias("handbook")["collection_name"] == before["collection"]
    assert rows_behind(engine, "handbook") == 120

    after = index().result
    assert rows_behind(engine, "handbook") == 126
    # What was embedded and not yet stored at the moment of the kill is lost: at most the one batch under way.
    assert 6 <= len(embedder.asked) <= 6 + spent
    assert after["chunks"] == 126


def test_an_interrupted_first_build_goes_on_where_it_was(engine: Any, embedder: Any, index: Any) -> None:
    killed = index(kill_before=f"insert {BUILD}#4")
    spent = len(embedder.asked)
    assert killed.code == -9
    assert engine.client().list_aliases().get("aliases", []) == []

    assert index().code == 0
    assert 0 < spent < 120
    assert len(embedder.asked) <= 120 + 8
    assert rows_behind(engine, "handbook") == 120


def test_an_engine_that_lost_power_serves_the_same_generation(engine: Any, embedder: Any, index: Any) -> None:
    first = index().result
    embedder.asked.clear()
    engine.restart()
    again = index().result

    assert again["collection"] == first["collection"]
    assert embedder.asked == []
    assert rows_behind(engine, "handbook") == 120
