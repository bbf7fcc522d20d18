"""Runs of the indexer: to their end, or killed at a chosen moment."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_indexer import build
from hearth_indexer.outcome import IndexingError
from hearth_indexer.progress import Progress
from hearth_indexer.run import run
from hearth_indexer.settings import RunSettings
from milvus_server import RunningEngine
from pymilvus import MilvusClient
from word_embedder import WordEmbedder

logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs each refusal with a traceback, expected ones too

WORDS = tuple(
    f"{color}{thing}"
    for color in ("amber", "cedar", "ember", "ivory")
    for thing in ("fjord", "glade", "kelp", "lane", "mill", "quay", "ridge", "vale")
)
SECTIONS = 3

BUILD = "handbook_[0-9a-f]{12}"
"""Any generation, and not the collection in which capabilities are probed."""

BATCH = 8
"""Chunks that a run to be killed stores at a time, so that there is a moment between them."""

PATIENCE = 60


def write_document(folder: Path, number: int, extra: str = "") -> None:
    """Document `number`, always with the same words, in three sections."""
    sections = []
    for section in range(SECTIONS):
        words = [WORDS[(number * 7 + section * 11 + i * (number + 3)) % len(WORDS)] for i in range(14)]
        sections.append(f"## Part {section}\n\nRule {number}-{section}: {' '.join(words)}.\n")
    (folder / f"doc-{number:02}.md").write_text(f"# Document {number}\n\n{''.join(sections)}{extra}", encoding="utf-8")


@dataclass
class Outcome:
    """How a run of the indexer ended."""

    code: int
    message: dict[str, Any]

    @property
    def result(self) -> dict[str, Any]:
        """The result, of a run that succeeded."""
        assert self.code == 0, self.message
        return dict(self.message["result"])


@dataclass
class Indexer:
    """Indexes one folder into one engine, as the operator's Job does."""

    engine: RunningEngine
    embedder: WordEmbedder
    library: Path

    def configuration(self, **changes: Any) -> dict[str, Any]:
        """The settings of a run."""
        return {
            "owner": "default/handbook",
            "alias": "handbook",
            "milvus": {"uri": self.engine.uri},
            "sources": [{"name": "library", "uri": "pvc://library", "path": str(self.library)}],
            "chunking": {"splitter": "Markdown", "size": 64, "overlap": 8},
            "embeddings": [{"name": "text", "url": self.embedder.url, "model": "words", "modelDigest": "sha256:1"}],
            "index": {"recallTarget": 0.9, "k": 5, "queries": 20},
            **changes,
        }

    def __call__(self, **changes: Any) -> Outcome:
        """An ordinary run, in this process."""
        try:
            return Outcome(0, {"result": run(RunSettings.model_validate(self.configuration(**changes)), Progress({}))})
        except IndexingError as error:
            return Outcome(error.exit_code, {"error": error.as_json()})

    def killed_before(self, moment: str, **changes: Any) -> int:
        """A run that kills itself, as an out-of-memory killer would, just before a call of the engine.

        `moment` is `METHOD COLLECTION` or `METHOD COLLECTION#n-th`, the collection a regular expression. Returns the
        exit status: -9, or something else where the moment never came.
        """
        # Forked from a process that has imported everything: an interpreter of its own would take seconds each time.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["hearth_indexer.run"])
        child = context.Process(target=_killed_run, args=(self.configuration(**changes), moment))
        child.start()
        child.join(PATIENCE)
        if child.exitcode is None:
            child.kill()
            child.join()
            return 124
        return child.exitcode

    def rows(self) -> int:
        """Rows that a reader of the alias sees."""
        client = self.engine.client()
        client.load_collection("handbook")
        found = client.query("handbook", filter="", output_fields=["count(*)"], consistency_level="Strong")
        return int(found[0]["count(*)"])

    def serving(self) -> str | None:
        """The collection that the alias stands for."""
        found = [a for c in self.engine.client().list_collections() if (a := self._alias(c))]
        return found[0] if found else None

    def _alias(self, collection: str) -> str | None:
        return collection if "handbook" in self.engine.client().list_aliases(collection).get("aliases", []) else None


def _killed_run(configuration: dict[str, Any], moment: str) -> None:
    wanted, _, nth = moment.partition("#")
    method = wanted.partition(" ")[0]
    setattr(MilvusClient, method, _watched(method, getattr(MilvusClient, method), wanted, int(nth or 1)))
    build.STEP = BATCH
    run(RunSettings.model_validate(configuration), Progress({}))


def _watched(name: str, method: Callable[..., Any], wanted: str, nth: int) -> Callable[..., Any]:
    seen = 0

    def call(client: MilvusClient, collection: str, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += re.fullmatch(wanted, f"{name} {collection}") is not None
        if seen == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(client, collection, *args, **kwargs)

    return call
