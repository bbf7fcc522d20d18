"""The gateway's configuration: a JSON file that the operator writes, named by HEARTH_CONFIG."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ConfigModel(BaseModel):
    """Immutable, camelCase in the file, unknown keys refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True)


class Sampling(ConfigModel):
    """Parameters under the names that requests use. `locked` ones may not be changed by a request."""

    defaults: dict[str, Any] = Field(default_factory=dict)
    locked: tuple[str, ...] = ()


class MilvusConfig(ConfigModel):
    """Where the index answers. `collection` is an alias: it moves to a new build without our doing."""

    uri: str
    collection: str
    owner: str
    """`namespace/name` of the index, with `@uid` where others share the engine: what its builds are marked with."""
    token_file: str | None = None
    """Holds `user:password` or an API token, where the engine asks for one."""


class EmbeddingConfig(ConfigModel):
    """Who turns a question into a vector, and the field that it is compared with.

    How that field is searched, the engine says: see generation.py.
    """

    url: str
    model: str
    field: str
    query_prefix: str = ""
    api_key_file: str | None = None
    """Holds an API key, where the embedder asks for one."""


class RagConfig(ConfigModel):
    """How questions are answered from an index. Lengths in tokens."""

    index: str
    milvus: MilvusConfig
    embedding: EmbeddingConfig
    retrieval: Literal["Dense", "Hybrid"] = "Dense"
    """Hybrid: by words too, unless the build that serves by now has none."""
    top_k: int = 5
    candidates: int = 40
    max_context_tokens: int = 2048
    fusion_k: int = 60
    citations: bool = True
    prompt_template: str | None = None
    min_similarity: float | None = None
    abstain_message: str | None = None


class Config(ConfigModel):
    """Everything about one service. Times in seconds."""

    service: str
    task: Literal["Generate", "Embed"] = "Generate"
    served_name: str
    upstream: str
    max_model_len: int = 0
    max_in_flight: int = 256
    memory_bytes: int = 512 * 2**20
    """What the process may take: the memory limit of its container."""
    request_timeout_seconds: float = 600
    settle_seconds: float = 8
    drain_seconds: float = 300
    keys_directory: str | None = None
    sampling: Sampling = Sampling()
    system_prompt: str | None = None
    rag: RagConfig | None = None


def read_config(path: str) -> Config:
    """The configuration in the file. Raises pydantic's ValidationError, or OSError."""
    return Config.model_validate_json(Path(path).read_bytes())
