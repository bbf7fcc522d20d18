"""One run: documents in, a measured and serving generation out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from hearth_indexer.build import Builder, Built
from hearth_indexer.capability import capabilities
from hearth_indexer.corpus import Corpus, Reading, cut
from hearth_indexer.documents import RawDocument, Skipped
from hearth_indexer.embed import Embedder
from hearth_indexer.engine import Engine, connect
from hearth_indexer.outcome import NotSupportedError
from hearth_indexer.parse import parse_all
from hearth_indexer.progress import Progress
from hearth_indexer.settings import RunSettings, bearer
from hearth_indexer.sources import collect
from hearth_indexer.tokens import token_counter

log = logging.getLogger(__name__)

SCRATCH = "_PROBE"
"""Follows the alias in the name of the collection that capabilities are probed in, and that is dropped unasked. Capital
letters: no Kubernetes name has them, so no alias of another index can be called so."""

REASON_LENGTH = 160


def run(asked: RunSettings, progress: Progress) -> dict[str, Any]:
    """The `result` object of the termination message.

    Raises IndexingError.
    """
    # Parsing forks, so all of it comes before the engine's client starts its threads.
    reading = Reading()
    reading.take(parse_all(_raw(asked), asked.parsing.max_pages))
    engine = Engine(connect(asked.milvus))
    able = capabilities(engine.client, f"{asked.alias}{SCRATCH}")
    sparse = supported(asked, able, engine.version())
    with httpx.Client(timeout=httpx.Timeout(120, connect=10)) as client:
        first = asked.embeddings[0]
        counter = token_counter(client, first.url, first.model, bearer(first.api_key_env))
        corpus = cut(reading, asked.chunking, counter)
        log.info("%d documents, %d chunks, %d skipped", corpus.documents, len(corpus.chunks), reading.skipped_count)
        progress.tell(corpus.documents, len(corpus.chunks), 0, now=True)
        embedders = {e.name: Embedder(client, e) for e in asked.embeddings}
        told = lambda done: progress.tell(corpus.documents, len(corpus.chunks), done)  # noqa: E731
        built = Builder(engine, asked, sparse, embedders, told).serve(corpus.chunks)
    progress.tell(corpus.documents, len(corpus.chunks), len(corpus.chunks), now=True)
    return _result(asked, reading, corpus, built, able, engine.version())


def supported(asked: RunSettings, able: Sequence[str], version: str) -> bool:
    """Whether the build has BM25.

    Raises NotSupportedError where more is asked for than the engine can do.
    """
    if asked.sparse and "BM25" not in able:
        raise NotSupportedError(
            f"sparse.enabled asks for BM25, but this engine ({version}) can do only: {', '.join(able)}",
            "leave sparse out, or use topology Lite or Milvus 2.5 or newer",
        )
    if len(asked.embeddings) > 1 and "MultiVector" not in able:
        raise NotSupportedError(
            f"{len(asked.embeddings)} embeddings need several vectors per row, but this engine ({version}) stores one",
            "keep one entry in embeddings, or use topology Lite or Milvus 2.4 or newer",
        )
    return "BM25" in able if asked.sparse is None else asked.sparse


def _raw(asked: RunSettings) -> Iterator[RawDocument | Skipped]:
    for source in asked.sources:
        yield from collect(source)


def _result(
    asked: RunSettings, reading: Reading, corpus: Corpus, built: Built, able: list[str], version: str
) -> dict[str, Any]:
    build, measured = built.build, built.build.measured
    return {
        "documents": corpus.documents,
        "chunks": len(corpus.chunks),
        "skippedCount": reading.skipped_count,
        "skipped": [{"uri": s.uri, "reason": s.reason[:REASON_LENGTH]} for s in reading.skipped],
        "alias": build.alias,
        "collection": build.collection,
        "embeddings": [{"name": e.name, "dimension": build.dimensions[e.field]} for e in asked.embeddings],
        "recall": {"k": measured["k"], "queries": measured["queries"], "measured": round(measured["recall"], 4)},
        "index": {"type": measured["type"], "params": measured["params"], "search": measured["search"]},
        "chunking": {"size": corpus.limits.size, "overlap": corpus.limits.overlap, "exactTokens": corpus.exact_tokens},
        "capabilities": able,
        "sparse": asked.sparse if asked.sparse is not None else "BM25" in able,
        "engine": version,
        "embeddedNow": built.embedded_now,
        "reused": built.reused,
        "dropped": list(built.dropped),
    }
