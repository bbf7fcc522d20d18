"""What is known about the collections of an engine: whose they are, how they were made, whether they are complete.

Kept in a small collection of its own, because milvus-lite stores no description with a collection.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pymilvus import DataType

from hearth_indexer.engine import Engine, engine_errors

LEDGER = "hearth_builds"


@dataclass(frozen=True, slots=True)
class Build:
    """One generation of an index."""

    collection: str
    alias: str
    owner: str
    """`namespace/name` of the VectorIndex, with `@uid` behind it where the engine is not the index's alone."""
    created: int
    """Unix time in milliseconds."""
    chunks: int
    embedders: dict[str, str]
    """Vector field to the identity of what made its vectors."""
    dimensions: dict[str, int]
    """Vector field to the length of its vectors."""
    complete: bool = False
    """Every chunk is in and was counted."""
    measured: dict[str, Any] = field(default_factory=dict)
    """What was measured last, and what for: recall and target, index and search parameters."""


class Ledger:
    """Reads and writes builds. One row per collection."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if not engine.exists(LEDGER):
            self._create()
        if engine.unindexed(LEDGER):
            self._index()
        engine.load(LEDGER)

    def _create(self) -> None:
        client = self._engine.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("collection", DataType.VARCHAR, max_length=255, is_primary=True)
        schema.add_field("facts", DataType.VARCHAR, max_length=65535)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)  # Milvus 2.3 makes no collection without a vector
        with engine_errors(f"creating {LEDGER}"):
            client.create_collection(LEDGER, schema=schema)

    def _index(self) -> None:
        client = self._engine.client
        indexes = client.prepare_index_params()
        indexes.add_index("unused", index_type="FLAT", metric_type="L2")
        with engine_errors(f"indexing {LEDGER}"):
            client.create_index(LEDGER, indexes, sync=False)

    def builds(self) -> list[Build]:
        """Every build whose collection still exists, the newest first."""
        with engine_errors("reading the ledger"):
            rows = self._engine.client.query(
                LEDGER, filter='collection != ""', output_fields=["facts"], limit=10000, consistency_level="Strong"
            )
            present = set(self._engine.client.list_collections())
        known = [_build(row["facts"]) for row in rows]
        return sorted((b for b in known if b.collection in present), key=lambda b: b.created, reverse=True)

    def record(self, build: Build) -> None:
        """Writes or replaces the row of a build."""
        facts = json.dumps(asdict(build), separators=(",", ":"))
        with engine_errors("writing the ledger"):
            self._engine.client.upsert(LEDGER, [{"collection": build.collection, "facts": facts, "unused": [0.0, 0.0]}])

    def forget(self, collection: str) -> None:
        """Removes the row of a collection that is gone."""
        with engine_errors("writing the ledger"):
            self._engine.client.delete(LEDGER, filter=f'collection in ["{collection}"]')


def _build(facts: str) -> Build:
    """A row. What a later version wrote beside it is left out: two clusters may share an engine."""
    known = {f.name for f in fields(Build)}
    return Build(**{key: value for key, value in json.loads(facts).items() if key in known})


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def retired(builds: Sequence[Build], active: str, keep: int) -> list[Build]:
    """The builds to drop once `active` serves: incomplete ones, and complete ones beyond the `keep` newest others."""
    others = [b for b in builds if b.collection != active]
    complete = sorted((b for b in others if b.complete), key=lambda b: b.created, reverse=True)
    return [b for b in others if not b.complete] + complete[keep:]
