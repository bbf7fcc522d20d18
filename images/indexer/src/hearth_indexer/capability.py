"""What an engine can do: found out on the engine itself, in an empty collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import grpc
from pymilvus import AnnSearchRequest, MilvusClient, MilvusException, RRFRanker

from hearth_indexer.engine import engine_errors, told_by
from hearth_indexer.outcome import UnavailableError
from hearth_indexer.schema import SPARSE_FIELD, create
from hearth_indexer.settings import Embedding

log = logging.getLogger(__name__)

PROBE_DIMENSION = 8

PATIENCE = 60.0
"""Seconds for which a refusal that does not say what it means is asked about again."""

PAUSE = 2.0


def capabilities(client: MilvusClient, scratch: str, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """What the engine can do: Dense always; BM25, Hybrid and MultiVector if it does them now, on an empty collection.

    `scratch` is the name of that collection; one left by a run that was killed is dropped first.

    Raises UnavailableError where the engine does not answer, or not in time.
    """
    first, second = (Embedding(name=name, url="", model="") for name in "ab")
    found = ["Dense"]
    try:
        if _able("BM25", lambda: _make(client, scratch, [first], sparse=True), client, sleep):
            found.append("BM25")
            if _able("Hybrid", lambda: _search(client, scratch, first), client, sleep):
                found.append("Hybrid")
        if _able("MultiVector", lambda: _make(client, scratch, [first, second], sparse=False), client, sleep):
            found.append("MultiVector")
    finally:
        _drop(client, scratch)
    return found


def _able(what: str, attempt: Callable[[], None], client: MilvusClient, sleep: Callable[[float], None]) -> bool:
    """Whether the engine does it. A busy engine must not be taken for one that cannot: an index would lose its words.

    So a time limit is no answer, and a refusal in other words than "not supported" counts once it has lasted.
    """
    for _ in range(round(PATIENCE / PAUSE)):
        try:
            attempt()
        except grpc.RpcError as error:
            raise UnavailableError(f"probing {what}: Milvus does not answer: {told_by(error)}") from error
        except MilvusException as error:
            refusal = told_by(error)
            if "support" in refusal.lower():
                return False
        else:
            return True
        with engine_errors(f"probing {what}"):
            client.get_server_version()
        sleep(PAUSE)
    log.warning("%s is taken for impossible: the engine answers, and for %.0f s it said: %s", what, PATIENCE, refusal)
    return False


def _make(client: MilvusClient, scratch: str, embeddings: Sequence[Embedding], sparse: bool) -> None:
    _drop(client, scratch)
    create(client, scratch, [(e, PROBE_DIMENSION) for e in embeddings], sparse, "FLAT", {})


def _search(client: MilvusClient, scratch: str, embedding: Embedding) -> None:
    dense = AnnSearchRequest([[1.0] * PROBE_DIMENSION], embedding.field, {"metric_type": "COSINE"}, limit=1)
    words = AnnSearchRequest(["word"], SPARSE_FIELD, {"metric_type": "BM25"}, limit=1)
    client.load_collection(scratch)
    client.hybrid_search(scratch, [dense, words], RRFRanker(60), limit=1)


def _drop(client: MilvusClient, scratch: str) -> None:
    with engine_errors(f"dropping {scratch}"):
        client.drop_collection(scratch)
