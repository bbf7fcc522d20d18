"""Real engines, each empty for each test, and what the indexer needs beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from indexer_runs import Indexer, write_document
from milvus_server import RunningEngine, running_milvus, starting_lite, wait_for_answer
from word_embedder import WordEmbedder, word_embedder

ENGINES = ("lite_server", "milvus_server")


@pytest.fixture(scope="session")
def next_lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], RunningEngine]]:
    """milvus-lite servers, the next one started while a test uses the last."""

    def start() -> RunningEngine:
        return starting_lite(tmp_path_factory.mktemp("lite") / "data")

    waiting = [start()]

    def take() -> RunningEngine:
        engine = waiting.pop()
        waiting.append(start())
        wait_for_answer(engine)
        return engine

    yield take
    waiting.pop().stop()


@pytest.fixture
def lite_server(next_lite: Callable[[], RunningEngine]) -> Iterator[RunningEngine]:
    """milvus-lite: BM25, hybrid search, several vectors per row.

    A new one for each test: dropping what another test left can block for a minute while it still builds its index.
    """
    engine = next_lite()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def started_milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngine]:
    """Milvus 2.3.5: dense vectors only. One for the whole run: it takes a while to start."""
    root = tmp_path_factory.mktemp("milvus")
    engine = running_milvus(root / "data", root / "server")
    yield engine
    engine.stop()


@pytest.fixture
def milvus_server(started_milvus: RunningEngine) -> RunningEngine:
    """The running Milvus, empty."""
    started_milvus.empty()
    return started_milvus


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> RunningEngine:
    """Each engine in turn, empty."""
    running: RunningEngine = request.getfixturevalue(request.param)
    return running


@pytest.fixture
def embedder() -> Iterator[WordEmbedder]:
    """A fresh embedding endpoint on loopback."""
    with word_embedder() as running:
        yield running


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Documents 2 to 13: two more would come before them."""
    folder = tmp_path / "library"
    folder.mkdir()
    for number in range(2, 14):
        write_document(folder, number)
    return folder


@pytest.fixture
def index(engine: RunningEngine, embedder: WordEmbedder, library: Path) -> Indexer:
    """Runs the indexer on the library; keywords change its settings."""
    return Indexer(engine, embedder, library)
