"""One run: documents in, a measured and serving generation out."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from hearth_indexer.build import Builder, Built
from hearth_indexer.capability import capabilities
from hearth_indexer.chunk import Chunk, ChunkLimits, chunks, limits
from hearth_indexer.documents import Document, RawDocument, Skipped
from hearth_indexer.embed import Embedder
from hearth_indexer.engine import Engine, connect
from hearth_indexer.outcome import BadDataError, NotSupportedError
from hearth_indexer.parse import parse_all
from hearth_indexer.progress import Progress
from hearth_indexer.settings import Chunking, RunSettings, secret
from hearth_indexer.sources import collect
from hearth_indexer.tokens import TokenCounter, token_counter

log = logging.getLogger(__name__)

COUNTING_THREADS = 8
"""Documents whose tokens are counted at a time: counting waits for the embedder, not for this process."""

SCRATCH = "_PROBE"
"""Follows the alias in the name of the collection that capabilities are probed in, and that is dropped unasked. Capital
letters: no Kubernetes name has them, so no alias of another index can be called so."""

SKIPPED_TOLD = 10
REASON_LENGTH = 160


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything that was read, cut to chunks."""

    documents: int
    chunks: tuple[Chunk, ...]
    skipped: tuple[Skipped, ...]
    limits: ChunkLimits
    exact_tokens: bool


def run(asked: RunSettings, progress: Progress) -> dict[str, Any]:
    """The `result` object of the termination message.

    Raises IndexingError.
    """
    # Parsing forks, so it comes before the engine's client starts its threads.
    read = list(parse_all(_raw(asked), asked.parsing.max_pages))
    engine = Engine(connect(asked.milvus))
    able = capabilities(engine.client, f"{asked.alias}{SCRATCH}")
    sparse = supported(asked, able, engine.version())
    with httpx.Client(timeout=httpx.Timeout(120, connect=10)) as client:
        first = asked.embeddings[0]
        counter = token_counter(client, first.url, first.model, secret(first.api_key_env))
        corpus = _corpus(read, asked.chunking, counter)
        log.info("%d documents, %d chunks, %d skipped", corpus.documents, len(corpus.chunks), len(corpus.skipped))
        progress.tell(corpus.documents, len(corpus.chunks), 0, now=True)
        embedders = {e.name: Embedder(client, e) for e in asked.embeddings}
        told = lambda done: progress.tell(corpus.documents, len(corpus.chunks), done)  # noqa: E731
        built = Builder(engine, asked, sparse, embedders, told).serve(corpus.chunks)
    progress.tell(corpus.documents, len(corpus.chunks), len(corpus.chunks), now=True)
    return _result(asked, corpus, built, able, engine.version())


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


def _corpus(read: Iterable[Document | Skipped], asked: Chunking, counter: TokenCounter) -> Corpus:
    found = list(read)
    documents = [d for d in found if isinstance(d, Document)]
    skipped = tuple(s for s in found if isinstance(s, Skipped))
    pool = ThreadPoolExecutor(COUNTING_THREADS)
    try:
        cut = list(pool.map(lambda d: tuple(chunks(d, asked, counter)), documents))
    finally:
        # Not waited for: they may be asking an embedder that does not answer, for ten minutes.
        pool.shutdown(wait=False, cancel_futures=True)
    unique = {c.id: c for group in cut for c in group}
    if not unique:
        first = f"; the first: {skipped[0].uri} {skipped[0].reason}" if skipped else ""
        raise BadDataError(
            f"the sources hold no document that can be indexed ({len(skipped)} skipped{first})",
            "check uri, include and exclude of spec.sources",
        )
    return Corpus(len(documents), tuple(unique.values()), skipped, limits(asked, counter), counter.exact)


def _result(asked: RunSettings, corpus: Corpus, built: Built, able: list[str], version: str) -> dict[str, Any]:
    build, measured = built.build, built.build.measured
    return {
        "documents": corpus.documents,
        "chunks": len(corpus.chunks),
        "skippedCount": len(corpus.skipped),
        "skipped": [{"uri": s.uri, "reason": s.reason[:REASON_LENGTH]} for s in corpus.skipped[:SKIPPED_TOLD]],
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
