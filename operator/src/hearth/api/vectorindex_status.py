"""What a VectorIndex reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Decimal, ListMap, ListSet, Timestamp
from hearth.api.shapes import LocalObjectReference
from hearth.api.status import StatusBase

Metric = Literal["Cosine", "InnerProduct", "Euclidean"]
Word = Annotated[str, StringConstraints(max_length=253)]
Count = Annotated[int, Field(ge=0)]
Parameters = Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(max_length=8)]


class Builds(ApiModel):
    """Which build serves, and which is being made. A build is named by a digest of what it was made from."""

    active: Word | None = None
    """The build that serves."""
    building: Word | None = None
    """The build that is being made."""
    collection: Word | None = None
    """Milvus collection of the build that serves."""
    alias: Word | None = None
    """Milvus alias that readers use; it points at `collection`."""


class Skipped(ApiModel):
    """A document, or a part of one, that is not in the index."""

    uri: Annotated[str, StringConstraints(max_length=1024)]
    """Which."""
    reason: Annotated[str, StringConstraints(max_length=256)]
    """Why."""


class EmbeddingStatus(ApiModel):
    """How a vector of the build that serves was made: a query must be embedded in the same way."""

    name: Word
    """Name of the embedding; its vector field is `dense_<name>`."""
    dimension: Count
    """Length of its vectors."""
    service_ref: LocalObjectReference
    """The LLMService that made them."""
    secret_ref: LocalObjectReference | None = None
    """Secret with an API key of that service."""
    model: Annotated[str, StringConstraints(max_length=256)]
    """The `model` to write in requests. It names the model's digest too: another model does not answer to it."""
    model_digest: Annotated[str, StringConstraints(max_length=71)] | None = None
    """Identity of the model's files."""
    metric: Metric
    """How vectors are compared."""
    query_prefix: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Put before a query."""


class Recall(ApiModel):
    """Recall of the build that serves, against exact search over every vector."""

    k: Count
    """Nearest chunks that were compared per query."""
    queries: Count
    """Queries that were asked."""
    measured: Decimal
    """The part of the exact answers that the index found, from 0 to 1; of several embeddings the worst."""
    target: Decimal
    """What the spec asks for."""


class IndexStatus(ApiModel):
    """How the vectors of the build that serves are indexed."""

    type: Word
    """Index type in Milvus."""
    params: Parameters | None = None
    """Build parameters."""
    search: Parameters | None = None
    """Search parameters to use: the cheapest that reached the recall target."""


class StorageStatus(ApiModel):
    """The volume of the engine."""

    claim: Word
    """Name of the PersistentVolumeClaim."""
    size: Word
    """Size that is asked for."""
    capacity: Word | None = None
    """Size that it has."""


class IndexingProgress(ApiModel):
    """How far the build is; absent while none is being made."""

    documents: Count
    """Documents that were read."""
    chunks: Count
    """Chunks that they were cut into."""
    embedded: Count
    """Chunks that are in the new collection."""
    percentage: Annotated[int, Field(ge=0, le=100)]
    """Embedded chunks of all chunks, in percent."""
    updated_at: Timestamp
    """When the indexer said so."""


class VectorIndexResolved(ApiModel):
    """What the operator and the indexer chose where the spec left it open."""

    image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Image of the engine."""
    engine: Word | None = None
    """Version that the engine told when the index was last built."""
    chunk_size: Count | None = None
    """Longest chunk in tokens."""
    chunk_overlap: Count | None = None
    """Tokens that a chunk repeats of the one before."""
    exact_tokens: bool | None = None
    """Whether the embedder's own tokenizer counted; else lengths were estimated."""
    sparse: bool | None = None
    """Whether the index can be searched by words."""


class VectorIndexStatus(StatusBase):
    """Conditions of its own: EngineReady, SourcesReady, Indexed, RecallMet, EmbeddersMatch."""

    endpoint: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Where Milvus answers."""
    builds: Builds | None = None
    """The builds of the index."""
    documents: Count | None = None
    """Documents in the build that serves."""
    chunks: Count | None = None
    """Chunks in the build that serves."""
    skipped: Annotated[list[Skipped], Field(max_length=50), ListMap(("uri",))] | None = None
    """The first documents that are not in it."""
    skipped_count: Count | None = None
    """How many are not in it."""
    embedded_now: Count | None = None
    """Texts that the last build sent to an embedder; the other vectors were there already."""
    embeddings: Annotated[list[EmbeddingStatus], Field(max_length=4), ListMap()] | None = None
    """How its vectors were made."""
    recall: Recall | None = None
    """What was measured."""
    index: IndexStatus | None = None
    """How its vectors are indexed."""
    capabilities: Annotated[list[Word], Field(max_length=16), ListSet()] | None = None
    """What the engine can do, as found out: Dense, BM25, Hybrid, MultiVector."""
    storage: StorageStatus | None = None
    """The volume of the engine."""
    progress: IndexingProgress | None = None
    """How far the build is."""
    resolved: VectorIndexResolved | None = None
    """What was chosen where the spec left it open."""
