"""What one run is asked to do: the JSON file that the operator mounts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from hearth_indexer.outcome import BadConfigurationError, UnavailableError

Metric = Literal["Cosine", "InnerProduct", "Euclidean"]
IndexType = Literal["FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8"]


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True)


class Milvus(_Part):
    """Where the engine answers."""

    uri: str
    token_env: str | None = None
    """Name of the environment variable that holds `user:password` or an API token."""


class Source(_Part):
    """One place that documents come from: a mounted folder or file, or an https:// URL."""

    name: str
    uri: str
    path: str | None = None
    """Where it is mounted. None for https://."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    token_env: str | None = None


class Parsing(_Part):
    """Limits on reading one document."""

    max_pages: int = Field(default=500, ge=1)
    """Pages of one PDF that are read; the rest is left out and said so."""


class Chunking(_Part):
    """How documents are cut. `size` and `overlap` count the embedder's tokens."""

    splitter: Literal["Recursive", "Markdown"] = "Recursive"
    size: int | None = Field(default=None, ge=16)
    overlap: int | None = Field(default=None, ge=0)
    keep_headings: bool = True


class Embedding(_Part):
    """One vector per chunk, made by an OpenAI-compatible endpoint."""

    name: str
    url: str
    """Base URL, ending in /v1."""
    model: str
    model_digest: str = ""
    """Distinguishes two models that were served under one name; vectors of different digests are never mixed."""
    former_model: str | None = None
    """What an earlier version called the same model of the same service."""
    metric: Metric = "Cosine"
    api_key_env: str | None = None

    @property
    def field(self) -> str:
        """The vector field of the collection."""
        return f"dense_{self.name}".replace("-", "_")

    @property
    def identity(self) -> str:
        """Two embeddings with equal identities give equal vectors for equal text."""
        return f"{self.model}@{self.model_digest}"

    def made(self, identity: str | None) -> bool:
        """Whether vectors of this identity are as good as those that are asked for now."""
        former = f"{self.former_model}@{self.model_digest}" if self.former_model else None
        return identity is not None and identity in (self.identity, former)


class VectorIndexing(_Part):
    """How vectors are indexed, and how the result is measured."""

    type: IndexType | None = None
    """None: HNSW."""
    recall_target: float = Field(default=0.95, gt=0, le=1)
    k: int = Field(default=10, ge=1, le=1000)
    queries: int = Field(default=100, ge=1, le=10000)


class RunSettings(_Part):
    """Everything one run is asked to do."""

    owner: str
    """`namespace/name` of the VectorIndex."""
    uid: str = ""
    """Its uid, where the engine is not its alone: another namespace or cluster may have an index that is called so."""
    alias: str
    """What readers search; points at the collection that serves."""
    milvus: Milvus
    sources: tuple[Source, ...] = Field(min_length=1)
    parsing: Parsing = Parsing()
    chunking: Chunking = Chunking()
    embeddings: tuple[Embedding, ...] = Field(min_length=1, max_length=4)
    sparse: bool | None = None
    """True: BM25 must be there. None: where the engine has it. False: dense vectors only."""
    index: VectorIndexing = VectorIndexing()
    keep_builds: int = Field(default=1, ge=0)
    """Complete generations that are kept beside the one that serves."""

    @property
    def mark(self) -> str:
        """What the collections of this index are marked with: those may be dropped later."""
        return f"{self.owner}@{self.uid}" if self.uid else self.owner


def read(path: Path) -> RunSettings:
    """Reads the file named by HEARTH_CONFIG.

    Raises BadConfigurationError where it is missing or wrong.
    """
    try:
        return RunSettings.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise BadConfigurationError(f"the configuration {path} cannot be read: {error.strerror}") from error
    except (json.JSONDecodeError, ValidationError) as error:
        raise BadConfigurationError(f"the configuration {path} is wrong: {error}") from error


def secret(env: str | None) -> str | None:
    """The value of the environment variable that carries a secret; None where none is named.

    What a file of a Secret has around its value, mostly the line break at its end, is left out.

    Raises UnavailableError where the variable is named but not set, or empty.
    """
    if env is None:
        return None
    value = os.environ.get(env, "").strip()
    if not value:
        # Unavailable: nothing tells of a Secret that was mended but another try, which gets the variables of then.
        raise UnavailableError(
            f"environment variable {env} is not set or empty",
            "put the token under the key token of the Secret that it comes from",
        )
    return value


def bearer(env: str | None) -> dict[str, str]:
    """The Authorization header for the secret in the environment variable; empty where none is named.

    Raises UnavailableError where the variable is named but not set, or holds what no header can carry.
    """
    token = secret(env)
    if token is None:
        return {}
    if not (token.isascii() and token.isprintable()):
        # h11 would refuse it by quoting it, and messages end in statuses. Unavailable: as above.
        raise UnavailableError(
            f"environment variable {env} is not one line of printable ASCII",
            "put the token, and nothing else, under the key token of the Secret that it comes from",
        )
    return {"authorization": f"Bearer {token}"}
