"""One generation of an index: filled, counted, measured, and only then put in service.

Its name is a digest of everything that makes it what it is. A run that finds its collection complete has at most to
measure it anew; one that finds it half full goes on; and the alias stands for a complete generation at every moment.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

from hearth_indexer.chunk import Chunk
from hearth_indexer.corpus import Chunks
from hearth_indexer.documents import clipped
from hearth_indexer.embed import Embedder, Vector
from hearth_indexer.engine import Engine, engine_errors
from hearth_indexer.ledger import Build, Ledger, now_ms, retired
from hearth_indexer.outcome import UnavailableError
from hearth_indexer.ownership import ours, readable, refuse_taken_alias
from hearth_indexer.recall import Measured, measure
from hearth_indexer.schema import TEXT_BYTES, create, index_params, search_ladder
from hearth_indexer.settings import Embedding, IndexType, RunSettings, VectorIndexing

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Raised when the fields of a collection change, so that old generations are not taken for new ones."""

DEFAULT_INDEX: IndexType = "HNSW"
STEP = 256
"""Chunks that are embedded and inserted at a time: what an interrupted run may lose."""


@dataclass(frozen=True, slots=True)
class Built:
    """A generation that serves."""

    build: Build
    embedded_now: int
    """Texts that were sent to an embedder in this run."""
    reused: int
    """Chunks whose vector came from an earlier generation."""
    dropped: tuple[str, ...]


class Builder:
    """Brings one generation into service."""

    def __init__(
        self,
        engine: Engine,
        asked: RunSettings,
        sparse: bool,
        embedders: dict[str, Embedder],
        told: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._asked = asked
        self._sparse = sparse
        self._embedders = embedders
        self._told = told
        self._ledger = Ledger(engine)
        self._kind: IndexType = asked.index.type or DEFAULT_INDEX
        self._reused = 0
        self._read: set[str] = set()

    def serve(self, chunks: Chunks) -> Built:
        """Makes the generation of these chunks, or finds it, and switches the alias to it."""
        name = collection_name(self._asked, self._sparse, self._kind, chunks)
        recorded = self._ledger.builds()
        if self._asked.uid:
            refuse_taken_alias(self._asked, self._engine.alias_target(self._asked.alias), recorded)
        known = self._loadable([b for b in recorded if ours(self._asked, b)])
        build = next((b for b in known if b.collection == name), None)
        if build is not None and build.complete and self._whole(build):
            log.info("%s is complete already", name)
            build = self._tuned(build, chunks)
        else:
            build = self._complete(name, chunks, [*known, *(b for b in recorded if readable(self._asked, b))])
        self._engine.point_alias(self._asked.alias, name)
        dropped = self._retire(name)
        requested = sum(e.requested for e in self._embedders.values())
        return Built(build, requested, self._reused, dropped)

    def _loadable(self, known: Sequence[Build]) -> list[Build]:
        """The builds without those that a run left before it had made their indexes; they hold nothing and are dropped.

        No engine loads them, so that they would end every later run that looks into them.
        """
        kept: list[Build] = []
        for build in known:
            if not build.complete and self._engine.unindexed(build.collection) and self._engine.drop(build.collection):
                log.warning("%s has no index: it was left while being made, and is dropped", build.collection)
                self._ledger.forget(build.collection)
            else:
                kept.append(build)
        return kept

    def _whole(self, build: Build) -> bool:
        self._engine.load(build.collection)
        return self._engine.count(build.collection) == build.chunks

    def _complete(self, name: str, chunks: Chunks, known: Sequence[Build]) -> Build:
        build = self._filled(name, chunks, known)
        self._engine.flush(name)
        for embedding in self._asked.embeddings:
            self._engine.wait_indexed(name, embedding.field)
        self._engine.reload(name)
        counted = self._engine.count(name)
        if counted != len(chunks):
            self._engine.drop(name)
            raise UnavailableError(
                f"{name} holds {counted} rows after {len(chunks)} were written; it was dropped and is built anew"
            )
        finished = replace(build, complete=True, measured=self._measured(name, chunks))
        self._ledger.record(finished)
        return finished

    def _tuned(self, build: Build, chunks: Chunks) -> Build:
        """The complete build, measured as is asked now; one that was measured so already stays as it is."""
        asked = self._asked.index
        tuned = replace(build, owner=self._asked.mark)
        if any(build.measured.get(key) != value for key, value in _measurement(asked).items()):
            log.info("%s is measured again: recall@%d over %d queries", build.collection, asked.k, asked.queries)
            tuned = replace(tuned, measured=self._measured(build.collection, chunks))
        if tuned != build:
            self._ledger.record(tuned)
        return tuned

    def _measured(self, name: str, chunks: Chunks) -> dict[str, object]:
        """Recall of the worst vector field, with the search parameters that suit every field."""
        asked, params = self._asked.index, index_params(self._kind, len(chunks))
        ladder = search_ladder(self._kind, asked.k, params.get("nlist", 1))
        ids = chunks.ids
        found: list[Measured] = [
            measure(self._engine, name, e, ids, ladder, k=asked.k, queries=asked.queries, target=asked.recall_target)
            for e in self._asked.embeddings
        ]
        worst = min(found, key=lambda m: m.recall)
        widest = max(found, key=lambda m: ladder.index(m.search)).search
        return {**asdict(worst), **_measurement(asked), "search": widest, "type": self._kind, "params": params}

    def _filled(self, name: str, chunks: Chunks, known: Sequence[Build]) -> Build:
        """The build with every chunk inserted, from wherever its vectors come cheapest."""
        build = next((b for b in known if b.collection == name), None)
        present = self._present(name) if build is not None else set()
        done = sum(i in present for i in chunks.ids)
        for batch in _batches(c for c in chunks if c.id not in present):
            vectors = self._vectors(batch, [b for b in known if b.collection != name])
            dimensions = {field: len(column[0]) for field, column in vectors.items()}
            if build is None or build.dimensions != dimensions:
                if build is not None:
                    log.warning("the embedder now gives %s dimensions: %s starts anew", dimensions, name)
                    self._engine.drop(name)
                    self._ledger.forget(name)
                    return self._filled(name, chunks, [b for b in known if b.dimensions == dimensions])
                build = self._created(name, len(chunks), dimensions)
            rows = [_row(c, {f: column[at] for f, column in vectors.items()}) for at, c in enumerate(batch)]
            self._engine.insert(name, rows)
            done += len(batch)
            self._told(done)
        assert build is not None, "a generation has at least one chunk"
        return build

    def _present(self, name: str) -> set[str]:
        self._engine.load(name)
        return {str(row["id"]) for page in self._engine.pages(name, ["id"]) for row in page}

    def _created(self, name: str, chunks: int, dimensions: dict[str, int]) -> Build:
        build = Build(
            collection=name, alias=self._asked.alias, owner=self._asked.mark, created=now_ms(), chunks=chunks,
            embedders={e.field: e.identity for e in self._asked.embeddings}, dimensions=dimensions,
        )  # fmt: skip
        self._engine.drop(name)  # of a run that was killed before it wrote the ledger
        self._ledger.record(build)
        pairs = [(e, dimensions[e.field]) for e in self._asked.embeddings]
        with engine_errors(f"creating {name}"):
            create(self._engine.client, name, pairs, self._sparse, self._kind, index_params(self._kind, chunks))
        return build

    def _vectors(self, batch: Sequence[Chunk], others: Sequence[Build]) -> dict[str, list[Vector]]:
        """A vector per chunk for every field: from other generations where they hold it, else from the embedder."""
        return {e.field: self._column(e, batch, others) for e in self._asked.embeddings}

    def _column(self, embedding: Embedding, batch: Sequence[Chunk], others: Sequence[Build]) -> list[Vector]:
        held: dict[str, Vector] = {}
        for build in others:
            wanted = sorted({c.digest for c in batch} - held.keys())
            if wanted and embedding.made(build.embedders.get(embedding.field)):
                self._engine.load(build.collection)
                self._read.add(build.collection)
                for row in self._engine.where_in(build.collection, "digest", wanted, ["digest", embedding.field]):
                    held[row["digest"]] = [float(x) for x in row[embedding.field]]
        fresh = {c.digest: c.content for c in batch if c.digest not in held}
        made = self._embedders[embedding.name].embed(list(fresh.values()))
        if made and held and len(made[0]) != len(next(iter(held.values()))):
            log.warning("%s now gives %d dimensions: nothing is reused", embedding.model, len(made[0]))
            return self._column(embedding, batch, ())
        self._reused += sum(c.digest in held for c in batch)
        held.update(zip(fresh, made, strict=True))
        return [held[c.digest] for c in batch]

    def _retire(self, active: str) -> tuple[str, ...]:
        """Drops what is not kept, and takes what is kept out of memory; a run that reuses its vectors loads it.

        What another index made is only taken out of memory again, where it was read and nothing is served from it.
        """
        recorded = self._ledger.builds()
        builds = [b for b in recorded if ours(self._asked, b)]
        unwanted = retired(builds, active, self._asked.keep_builds)
        dropped: list[str] = []
        for build in unwanted:
            if self._engine.drop(build.collection):
                self._ledger.forget(build.collection)
                dropped.append(build.collection)
        kept = [b.collection for b in builds if b.collection != active and b not in unwanted]
        lent = self._read & {b.collection for b in recorded if not ours(self._asked, b)}
        for collection in [*kept, *(c for c in lent if not self._engine.aliases(c))]:
            self._engine.release(collection)
        return tuple(dropped)


def collection_name(asked: RunSettings, sparse: bool, kind: IndexType, chunks: Iterable[Chunk]) -> str:
    """`<alias>_<twelve hexadecimal characters>`: equal for equal content, embedders and index."""
    digest = hashlib.sha256()
    made_by = [(e.field, e.identity, e.metric) for e in asked.embeddings]
    digest.update(json.dumps([SCHEMA_VERSION, made_by, sparse, kind]).encode())
    for chunk in chunks:
        digest.update(json.dumps([chunk.id, chunk.title, chunk.heading, chunk.page]).encode())
    return f"{asked.alias}_{digest.hexdigest()[:12]}"


def _batches(chunks: Iterable[Chunk]) -> Iterator[list[Chunk]]:
    rest = iter(chunks)
    while batch := list(islice(rest, STEP)):
        yield batch


def _measurement(asked: VectorIndexing) -> dict[str, object]:
    """What decides which search parameters are chosen: no part of a collection's name, for no row depends on it."""
    return {"target": asked.recall_target, "k": asked.k, "queries": asked.queries}


def _row(chunk: Chunk, vectors: dict[str, Vector]) -> dict[str, object]:
    # `metric` is fixed by the index, so the row is the same for every metric.
    facts = {
        field: getattr(chunk, field) for field in ("id", "document", "title", "heading", "position", "page", "digest")
    }
    return facts | {"text": clipped(chunk.text, TEXT_BYTES), "content": clipped(chunk.content, TEXT_BYTES)} | vectors
