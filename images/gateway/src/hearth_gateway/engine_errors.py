"""What an engine answers instead of an answer, and the one complaint that a gateway can do something about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import grpc
from pymilvus import MilvusClient, MilvusException

ENGINE_ERRORS = (MilvusException, grpc.RpcError)
"""What pymilvus raises. A search that takes longer than its time limit ends in gRPC's own error."""

CALL_TIMEOUT, LOAD_TIMEOUT = 10.0, 60.0

Answer = TypeVar("Answer")


def told_by(error: Exception) -> str:
    """What the engine said."""
    return str(error.message if isinstance(error, MilvusException) else error)


def once_loaded(
    client: MilvusClient, collection: str, ask: Callable[[], Answer], wanted: Callable[[], bool] = lambda: True
) -> Answer:
    """The answer of an engine that may have forgotten to load the collection, as milvus-lite does when it restarts.

    One that is not `wanted` any more stays out of memory.
    """
    try:
        return ask()
    except ENGINE_ERRORS as error:
        if "load" not in told_by(error).lower() or not wanted():
            raise
        client.load_collection(collection, timeout=LOAD_TIMEOUT)
        return ask()
