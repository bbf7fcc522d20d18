"""The generation of an index that serves now, as the engine tells it: what a question has to fit.

The indexer switches the index's alias, and whatever a gateway is told in its configuration comes later, or never where
its pods cannot be replaced. So the gateway asks for each question which collection the alias stands for, searches that
one, and follows what it says. What it cannot follow, vectors of another model, it refuses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymilvus import MilvusClient

from hearth_gateway.config import RagConfig
from hearth_gateway.engine_errors import CALL_TIMEOUT, once_loaded
from hearth_gateway.errors import ApiError, unavailable

LEDGER = "hearth_builds"
"""Where the indexer (images/indexer, ledger.py) keeps what it knows of each collection: one row of JSON."""

SPARSE_FIELD = "sparse"

READ_AGAIN = 30.0
"""Seconds after which the facts of a collection are read again: its search parameters may have been chosen anew."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One collection, and how it is searched."""

    collection: str
    owner: str | None
    """`namespace/name` of the VectorIndex that made it, with `@uid` where others share the engine; None: unknown."""
    model: str | None
    """The pinned name of the model that made the vectors of the field that is searched; None where there is no such."""
    metric: str
    """As Milvus calls it: COSINE, IP or L2."""
    words: bool
    """Whether it can be searched by words."""
    search: dict[str, int]
    """Search parameters with which its recall was measured, for example `ef`."""


class Serving:
    """Knows the generation that an index's alias stands for. Raises what pymilvus raises."""

    def __init__(self, config: RagConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._known: tuple[float, Generation] | None = None

    def collection(self, client: MilvusClient) -> str:
        """The collection that the alias stands for."""
        alias = self._config.milvus.collection
        return str(client.describe_alias(alias, timeout=CALL_TIMEOUT)["collection_name"])

    def now(self, client: MilvusClient) -> Generation:
        """The generation that serves; only the alias is asked for while its facts are known."""
        collection = self.collection(client)
        if self._known is not None:
            read, known = self._known
            if known.collection == collection and self._clock() - read < READ_AGAIN:
                return known
        found = _read(client, collection, self._config.embedding.field)
        self._known = (self._clock(), found)
        return found


def _read(client: MilvusClient, collection: str, field: str) -> Generation:
    fields = {str(f["name"]) for f in client.describe_collection(collection, timeout=CALL_TIMEOUT)["fields"]}
    rows = once_loaded(
        client,
        LEDGER,
        lambda: client.query(
            LEDGER,
            filter=f'collection == "{collection}"',
            output_fields=["facts"],
            consistency_level="Strong",
            timeout=CALL_TIMEOUT,
        ),
    )
    facts: dict[str, Any] = json.loads(rows[0]["facts"]) if rows else {}
    identity = str(facts.get("embedders", {}).get(field, ""))  # the model's pinned name, an at sign, its digest
    index = client.describe_index(collection, field, timeout=CALL_TIMEOUT) if field in fields else {}
    return Generation(
        collection=collection,
        owner=facts.get("owner"),
        model=identity.rpartition("@")[0] or None,
        metric=str(index.get("metric_type", "")),
        words=SPARSE_FIELD in fields,
        search=facts.get("measured", {}).get("search", {}),
    )


def misfit(config: RagConfig, serving: Generation) -> ApiError | None:
    """Why questions cannot be compared with this generation, if they cannot."""
    mark, asked = config.milvus.owner, config.embedding.model
    if serving.owner not in (mark, mark.partition("@")[0]):
        made_by = serving.owner or "nobody on record"
        return unavailable(f"the alias of index {config.index} stands for {serving.collection}, made by {made_by}")
    if serving.model != asked:
        return unavailable(
            f"index {config.index} has the vectors of {serving.model} by now, and this gateway asks {asked} yet: it "
            "answers again once it is told of the new build"
        )
    return None
