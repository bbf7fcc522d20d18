"""Milvus as this image uses it. Works with real Milvus (2.3 and newer) and with the milvus-lite server.

What the engines differ in is asked, not assumed: see `capabilities`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
from pymilvus import DataType, MilvusClient, MilvusException

from hearth_indexer.outcome import DiskFullError, UnavailableError
from hearth_indexer.settings import Milvus, secret

log = logging.getLogger(__name__)

Row = dict[str, Any]

INSERT_BATCH = 200
"""Rows per insert: 200 chunks with 1024 dimensions and 2 KiB of text are 1.2 MiB, far below the 64 MiB of a message."""

IN_BATCH = 256
"""Values in one `field in [...]` filter."""

PAGE = 1000
"""Rows per page of an iterator."""


ENGINE_ERRORS = (MilvusException, grpc.RpcError)
"""What pymilvus raises. A call that took longer than its time limit leaves it as gRPC's own error."""

VECTORS = frozenset({DataType.FLOAT_VECTOR, DataType.SPARSE_FLOAT_VECTOR})


def told_by(error: Exception) -> str:
    """What the engine said, at most 500 characters of it."""
    return str(error.message if isinstance(error, MilvusException) else error)[:500]


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns the engine's refusals into an outcome that says what was being done.

    Raises DiskFullError where a quota or the disk is the reason, else UnavailableError.
    """
    try:
        yield
    except ENGINE_ERRORS as error:
        said = told_by(error)
        if any(word in said.lower() for word in ("disk quota", "quota exceeded", "deny to write", "no space left")):
            raise DiskFullError(f"{doing}: {said}", "raise spec.milvus.storage.size") from error
        raise UnavailableError(f"{doing}: Milvus answers: {said}") from error


def connect(asked: Milvus, patience: float = 300.0) -> MilvusClient:
    """A client of an engine that answers.

    Raises UnavailableError where none does within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            client = MilvusClient(uri=asked.uri, token=secret(asked.token_env) or "", timeout=10)
            log.info("connected to %s, version %s", asked.uri, client.get_server_version())
            return client
        except ENGINE_ERRORS as error:
            if time.monotonic() > deadline:
                raise UnavailableError(f"{asked.uri} does not answer: {told_by(error)}") from error
            log.warning("%s does not answer yet: %s", asked.uri, told_by(error))
            time.sleep(2)


class Engine:
    """The operations of one run, on one Milvus."""

    def __init__(self, client: MilvusClient) -> None:
        self.client = client

    def version(self) -> str:
        """As the server says it, for example `v2.3.5-lite` or `milvus_lite-3.2.2`."""
        with engine_errors("asking for the version"):
            return str(self.client.get_server_version())

    def exists(self, collection: str) -> bool:
        """Whether there is a collection of this name; an alias is none."""
        with engine_errors("listing collections"):
            return collection in self.client.list_collections()

    def alias_target(self, alias: str) -> str | None:
        """The collection that the alias stands for, if there is such an alias."""
        try:
            return str(self.client.describe_alias(alias)["collection_name"])
        except ENGINE_ERRORS as error:
            said = told_by(error)
            if "not found" in said or "not exist" in said:
                return None
            raise UnavailableError(f"reading alias {alias}: Milvus answers: {said}") from error

    def point_alias(self, alias: str, collection: str) -> None:
        """Makes the alias stand for the collection, in one step: readers see the old or the new one."""
        target = self.alias_target(alias)
        if target == collection:
            return
        with engine_errors(f"switching alias {alias} to {collection}"):
            if target is None:
                self.client.create_alias(collection, alias)
            else:
                self.client.alter_alias(collection, alias)

    def drop(self, collection: str) -> bool:
        """Drops a collection unless an alias stands for it; whether it is gone."""
        if not self.exists(collection):
            return True
        if self.aliases(collection):
            return False
        with engine_errors(f"dropping {collection}"):
            self.client.drop_collection(collection)
            return True

    def aliases(self, collection: str) -> list[str]:
        """The aliases that stand for the collection."""
        with engine_errors(f"asking for the aliases of {collection}"):
            return list(self.client.list_aliases(collection).get("aliases", []))

    def unindexed(self, collection: str) -> list[str]:
        """The vector fields that have no index: a run ended between making the collection and its indexes.

        Such a collection cannot be loaded, and holds no row: rows come after the indexes.
        """
        with engine_errors(f"asking for the indexes of {collection}"):
            fields = self.client.describe_collection(collection)["fields"]
            names = [str(f["name"]) for f in fields if f["type"] in VECTORS]
            return [name for name in names if not self.client.list_indexes(collection, name)]

    def load(self, collection: str, patience: float = 60.0) -> None:
        """Makes the collection searchable. milvus-lite forgets this when it restarts.

        Tried again for `patience` seconds: milvus-lite refuses while it still writes the index file.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                self.client.load_collection(collection, timeout=600)
                return
            except ENGINE_ERRORS as error:
                if time.monotonic() > deadline:
                    raise UnavailableError(f"loading {collection}: Milvus answers: {told_by(error)}") from error
                time.sleep(0.5)

    def release(self, collection: str) -> None:
        """Takes the collection out of memory; it stays on disk."""
        with engine_errors(f"releasing {collection}"):
            self.client.release_collection(collection)

    def reload(self, collection: str) -> None:
        """Loads the collection anew, so that sealed segments are served with their index."""
        self.release(collection)
        self.load(collection)

    def insert(self, collection: str, rows: Sequence[Row]) -> None:
        """Adds rows."""
        with engine_errors(f"inserting into {collection}"):
            for start in range(0, len(rows), INSERT_BATCH):
                self.client.insert(collection, list(rows[start : start + INSERT_BATCH]))

    def flush(self, collection: str) -> None:
        """Writes what was inserted to storage and seals the segments."""
        with engine_errors(f"flushing {collection}"):
            self.client.flush(collection, timeout=600)

    def count(self, collection: str) -> int:
        """Rows of a loaded collection, everything written so far included."""
        with engine_errors(f"counting {collection}"):
            found = self.client.query(collection, filter="", output_fields=["count(*)"], consistency_level="Strong")
            return int(found[0]["count(*)"])

    def wait_indexed(self, collection: str, field: str, patience: float = 1800.0) -> None:
        """Waits until no row of the field waits for its index.

        Raises UnavailableError after `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            with engine_errors(f"asking for the index of {collection}"):
                told = self.client.describe_index(collection, field)
            pending = int(told.get("pending_index_rows", 0))
            if pending == 0 and told.get("state", "Finished") == "Finished":
                return
            if time.monotonic() > deadline:
                raise UnavailableError(f"{pending} rows of {collection} have no index after {patience:.0f} s")
            time.sleep(0.5)

    def pages(self, collection: str, fields: Sequence[str]) -> Iterator[list[Row]]:
        """Every row of a loaded collection, a page at a time."""
        with engine_errors(f"reading {collection}"):
            rows = self.client.query_iterator(
                collection, batch_size=PAGE, filter="", output_fields=list(fields), consistency_level="Strong"
            )
            try:
                while page := rows.next():
                    yield list(page)
            finally:
                rows.close()

    def where_in(self, collection: str, field: str, values: Sequence[str], fields: Sequence[str]) -> Iterator[Row]:
        """The rows whose field has one of these values."""
        with engine_errors(f"reading {collection}"):
            for start in range(0, len(values), IN_BATCH):
                wanted = json.dumps(list(values[start : start + IN_BATCH]))
                yield from self.client.query(
                    collection, filter=f"{field} in {wanted}", output_fields=list(fields), consistency_level="Strong"
                )
