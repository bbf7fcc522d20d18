"""VectorIndex: documents become a measured, versioned index in Milvus."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Decimal, ListMap, Name, Rule, Written
from hearth.api.crd_kind import Column, CustomKind
from hearth.api.shapes import (
    NAMED_VOLUME,
    UNNAMED_VOLUME,
    DataSource,
    LocalObjectReference,
    PodOverrides,
    ResourceRequirements,
    Storage,
    Uri,
)
from hearth.api.vectorindex_status import Metric, VectorIndexStatus

Topology = Literal["Standalone", "Lite", "External"]
IndexType = Literal["FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8"]


class MilvusStorage(Storage):
    """The volume of a Milvus that the operator runs. Grow only; class and access mode are fixed."""

    allow_file: bool | None = None
    """Whether a network file system (NFS, SMB, CephFS) may hold the data of Standalone. Unset: no. Milvus's embedded
    etcd and its log need fsync and file locks that such systems do not give."""


class ExternalMilvus(ApiModel):
    """A Milvus that somebody else runs."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.uri.matches('^https?://.+')", "write https://host:port or http://host:port", field_path=".uri"),
    )

    uri: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """Address of its gRPC endpoint, for example `https://milvus.example.com:19530`."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the key `token`: `user:password`, or an API token."""


class Milvus(ApiModel):
    """The engine that holds the index."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.topology == 'External') == has(self.external)",
            "set external for topology External, and for no other topology",
        ),
        Rule(
            "self.topology != 'External' || (!has(self.storage) && !has(self.resources) && !has(self.image))",
            "image, resources and storage belong to a Milvus that the operator runs; topology External has none",
        ),
    )

    topology: Topology = "Standalone"
    """Standalone: Milvus in one pod, on one block volume. Lite: the milvus-lite server, small, with BM25 and hybrid
    search, without access control. External: a Milvus that somebody else runs."""
    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """Image of the engine. Unset: the one that the operator was installed with."""
    resources: ResourceRequirements | None = None
    """CPU and memory of the engine. Unset: requests of 500m and 1Gi (Standalone), 100m and 256Mi (Lite)."""
    storage: MilvusStorage | None = None
    """The volume. Size unset: 10Gi (Standalone), 2Gi (Lite)."""
    external: ExternalMilvus | None = None
    """Where the Milvus of topology External answers."""


class Source(DataSource):
    """One place that documents come from, read again whenever the index is built."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.uri.matches('^(configMap|pvc|oci|https)://.+')",
            "uri must start with configMap://, pvc://, oci:// or https:// "
            "(configMap://name[/key], pvc://claim/path, oci://image@digest, https://host/file)",
            field_path=".uri",
        ),
        Rule(NAMED_VOLUME, UNNAMED_VOLUME, field_path=".uri"),
        Rule(
            "!has(self.secretRef) || self.uri.startsWith('https://')",
            "secretRef is the token of an https:// source; other schemes do not read it",
            field_path=".secretRef",
        ),
    )

    name: Name
    """Name of the source, unique within the index."""
    uri: Uri
    """`configMap://name[/key]`, `pvc://claim/path`, `oci://image[@digest]` or `https://…`."""
    secret_ref: LocalObjectReference | None = None
    """Secret with the token of an https:// source under the key `token`."""


class Parsing(ApiModel):
    """Limits on reading one document."""

    max_pages: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Pages that are read of one PDF; the rest is left out and listed in status.skipped. Unset: 500."""


class Chunking(ApiModel):
    """How documents are cut. Sizes count tokens of the first embedding's model."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.size) || !has(self.overlap) || self.overlap * 2 <= self.size",
            "overlap must be at most half of size",
            field_path=".overlap",
        ),
    )

    splitter: Literal["Recursive", "Markdown"] | None = None
    """Recursive: chunks are filled up to `size`, cut at paragraphs, lines, sentences. Markdown: a chunk also never
    crosses a heading (also of HTML and PDF). Unset: Recursive."""
    size: Annotated[int, Field(ge=16, le=32_768)] | None = None
    """Longest chunk, headings included. Unset: 512, or as much as the embedder reads."""
    overlap: Annotated[int, Field(ge=0, le=16_384)] | None = None
    """Tokens of the end of a chunk that the next one repeats. Unset: an eighth of the size."""
    keep_headings: bool | None = None
    """Whether the title and headings above a chunk are embedded with it. Unset: yes."""


class Embedding(ApiModel):
    """One vector per chunk."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=32),
        Written(r"^[a-z][a-z0-9]*$", "write the name of an embedding in lower case letters and digits, a letter first"),
    ]
    """Name of the vector, unique within the index: lower case letters and digits."""
    service_ref: LocalObjectReference
    """The LLMService with task Embed that makes the vectors."""
    secret_ref: LocalObjectReference | None = None
    """Secret with an API key of that service under the key `token`, where the service asks for keys. Indexer and
    gateways send it."""
    metric: Metric | None = None
    """How vectors are compared. Unset: Cosine."""
    query_prefix: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Put before a query, not before documents, by models that were trained so, for example "query: "."""


class Sparse(ApiModel):
    """Search by words (BM25)."""

    enabled: bool
    """True: the engine must have BM25. False: dense vectors only."""


class Measure(ApiModel):
    """How recall is measured: the index's answers against exact search over every vector."""

    k: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Nearest chunks per query that are compared. Unset: 10."""
    queries: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Queries, each a blend of two stored vectors. Unset: 100."""


class Index(ApiModel):
    """How vectors are indexed."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.recallTarget) || (double(self.recallTarget) > 0.0 && double(self.recallTarget) <= 1.0)",
            'recallTarget must be greater than 0 and at most 1, written as a quoted string such as "0.95"',
            field_path=".recallTarget",
        ),
    )

    type: IndexType | None = None
    """FLAT: exact, no index. HNSW: a graph. IVF_FLAT, IVF_SQ8: lists, the latter with a quarter of the memory.
    Unset: HNSW."""
    recall_target: Decimal | None = None
    """Recall that is wanted; search parameters are the cheapest that reach it. Unset: "0.95"."""
    measure: Measure | None = None
    """How recall is measured."""


class IndexerPod(ApiModel):
    """The pod that reads, cuts and embeds the documents."""

    resources: ResourceRequirements | None = None
    """CPU and memory of the pod. Unset: requests of 100m and 256Mi, a memory limit of 3Gi, of which reading one PDF may
    take 2Gi."""


class Refresh(ApiModel):
    """How one build of the index follows another: the alias is switched once the new one is complete and measured."""

    keep_builds: Annotated[int, Field(ge=0, le=10)] | None = None
    """Complete builds that are kept beside the one that serves. Looked at after each build. Unset: 1."""


_CLASS = (
    "(has({0}.milvus.storage) && has({0}.milvus.storage.storageClassName) ? {0}.milvus.storage.storageClassName : '')"
)
_MODE = "(has({0}.milvus.storage) && has({0}.milvus.storage.accessMode) ? {0}.milvus.storage.accessMode : '')"
_SIZED = "has({0}.milvus.storage) && has({0}.milvus.storage.size)"


class VectorIndexSpec(ApiModel):
    """Documents, how they are cut and embedded, and the engine that holds the result."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.milvus.topology == oldSelf.milvus.topology",
            "topology is fixed: make another VectorIndex beside this one, and delete this one when it serves",
            field_path=".milvus.topology",
        ),
        Rule(
            f"{_CLASS.format('self')} == {_CLASS.format('oldSelf')}",
            "storageClassName is fixed: a volume does not move; make another VectorIndex beside this one",
            field_path=".milvus",
        ),
        Rule(
            f"{_MODE.format('self')} == {_MODE.format('oldSelf')}",
            "accessMode is fixed: make another VectorIndex beside this one",
            field_path=".milvus",
        ),
        Rule(
            f"!({_SIZED.format('self')}) || !({_SIZED.format('oldSelf')}) || "
            "!quantity(string(self.milvus.storage.size)).isLessThan(quantity(string(oldSelf.milvus.storage.size)))",
            "a volume only grows: write the old size or a larger one",
            field_path=".milvus.storage.size",
        ),
    )

    milvus: Milvus = Milvus()
    """The engine."""
    sources: Annotated[list[Source], Field(min_length=1, max_length=32), ListMap()]
    """Where the documents come from."""
    parsing: Parsing | None = None
    """Limits on reading one document."""
    chunking: Chunking | None = None
    """How documents are cut."""
    embeddings: Annotated[list[Embedding], Field(min_length=1, max_length=4), ListMap()]
    """What makes the vectors. More than one needs an engine with the capability MultiVector."""
    sparse: Sparse | None = None
    """Search by words. Unset: where the engine has it."""
    index: Index | None = None
    """How vectors are indexed."""
    refresh: Refresh | None = None
    """How builds follow one another."""
    indexer: IndexerPod | None = None
    """The pod that makes a build. A change while one is being made begins its pod again, which goes on from there."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What becomes of the volume when the index is deleted. Retain: it stays, and an index of the same name takes it
    up again. Delete: it goes too. Collections of topology External always stay; an index of the same name takes their
    vectors for its own ones."""
    pod_overrides: PodOverrides | None = None
    """Extra settings of the pods of Milvus and of the indexer; env and resources apply to Milvus alone, for the indexer
    has resources of its own."""
    suspend: bool = False
    """Whether the engine and a running build are stopped. The volume stays."""


KIND = CustomKind(
    kind="VectorIndex",
    plural="vectorindexes",
    short_names=("vix",),
    spec=VectorIndexSpec,
    status=VectorIndexStatus,
    description=(
        "Turns documents into a searchable index in Milvus: they are read, cut into chunks, embedded by an LLMService, "
        "counted, and measured against exact search. Only then does the index's alias point at the new collection, so "
        "that readers always see a complete one. An LLMService answers from it through rag.indexRef."
    ),
    columns=(
        Column("Documents", ".status.documents", "integer"),
        Column("Chunks", ".status.chunks", "integer"),
        Column("Recall", ".status.recall.measured"),
        Column("Collection", ".status.builds.collection", wide=True),
    ),
)
