"""What a collection looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient

from hearth_indexer.chunk import NAME_BYTES
from hearth_indexer.settings import Embedding, IndexType

METRICS = {"Cosine": "COSINE", "InnerProduct": "IP", "Euclidean": "L2"}
TEXT_BYTES = 65535
"""Longest VARCHAR that Milvus stores, in bytes."""

SPARSE_FIELD = "sparse"


def index_params(kind: IndexType, rows: int) -> dict[str, int]:
    """Build parameters. HNSW: M and efConstruction as hnswlib advises for text (16, 200). IVF: 4 x sqrt(rows) lists."""
    if kind == "HNSW":
        return {"M": 16, "efConstruction": 200}
    if kind in ("IVF_FLAT", "IVF_SQ8"):
        return {"nlist": min(65536, max(1, round(4 * math.sqrt(rows))))}
    return {}


def search_ladder(kind: IndexType, k: int, nlist: int) -> list[dict[str, int]]:
    """Search parameters to try, cheapest first. Milvus wants ef >= k and nprobe <= nlist."""
    if kind == "HNSW":
        return [{"ef": ef} for ef in (64, 128, 256, 512) if ef >= k] or [{"ef": k}]
    if kind in ("IVF_FLAT", "IVF_SQ8"):
        return [{"nprobe": n} for n in sorted({min(n, nlist) for n in (8, 16, 32, 64, 128)})]
    return [{}]


def create(
    client: MilvusClient,
    collection: str,
    dimensions: Sequence[tuple[Embedding, int]],
    sparse: bool,
    kind: IndexType,
    params: dict[str, int],
) -> None:
    """Creates an empty, indexed collection; it still has to be loaded. Raises what pymilvus raises.

    The index is asked for before the rows come, so that an interrupted build can be loaded and gone on with.
    """
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    indexes = client.prepare_index_params()
    _add_text_fields(schema, analyzed=sparse)
    for embedding, dimension in dimensions:
        schema.add_field(embedding.field, DataType.FLOAT_VECTOR, dim=dimension)
        indexes.add_index(embedding.field, index_type=kind, metric_type=METRICS[embedding.metric], params=params)
    if sparse:
        schema.add_field(SPARSE_FIELD, DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(
            Function(
                name="bm25",
                function_type=FunctionType.BM25,
                input_field_names=["content"],
                output_field_names=[SPARSE_FIELD],
            )
        )
        indexes.add_index(SPARSE_FIELD, index_type="SPARSE_INVERTED_INDEX", metric_type="BM25")
    client.create_collection(collection, schema=schema)
    # Nothing to wait for: the collection is empty, and the build waits for its index once it is full.
    client.create_index(collection, indexes, sync=False)


def _add_text_fields(schema: CollectionSchema, analyzed: bool) -> None:
    schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
    for name, length in (
        ("document", NAME_BYTES),
        ("title", NAME_BYTES),
        ("heading", NAME_BYTES),
        ("text", TEXT_BYTES),
    ):
        schema.add_field(name, DataType.VARCHAR, max_length=length)
    extra = {"enable_analyzer": True} if analyzed else {}
    schema.add_field("content", DataType.VARCHAR, max_length=TEXT_BYTES, **extra)
    schema.add_field("position", DataType.INT64)
    schema.add_field("page", DataType.INT64)
    schema.add_field("digest", DataType.VARCHAR, max_length=64)
