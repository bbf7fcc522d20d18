"""What a model says about itself, read from its files before any GPU is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel

Word = Annotated[str, StringConstraints(max_length=128)]
Count = Annotated[int, Field(ge=0)]


class CachedLayers(ApiModel):
    """Layers that keep the same of every token while a request is worked on (vllm/v1/kv_cache_interface.py)."""

    layers: Count
    """How many layers."""
    heads: Count
    """Key/value heads of one layer. 1 for a latent (MLA), of which every GPU keeps a copy."""
    width: Count
    """Numbers that one token leaves per head: key and value together, or the latent."""
    window: Count | None = None
    """Tokens that are looked back at with sliding-window attention; unset: all."""


class KvCache(ApiModel):
    """What is kept of a request's tokens. One of `layers` and `unknown`."""

    layers: Annotated[list[CachedLayers], Field(max_length=16)] | None = None
    """Layers by what they keep; empty for encoders, which keep nothing."""
    unknown: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Why it could not be worked out from config.json. vLLM then takes the memory that is left."""


class ModelFacts(ApiModel):
    """Facts from config.json, the safetensors headers and the tokenizer's files; sizes in bytes."""

    architecture: Word
    """First entry of `architectures`, for example LlamaForCausalLM."""
    model_type: Word
    """`model_type`, for example llama."""
    parameters: Count
    """Elements of all tensors. Tied weights count once; packed 4-bit weights count their packed integers."""
    weight_bytes: Count
    """Bytes of all tensors, as stored."""
    dtype: Word
    """The type that the weights are stored in: bfloat16, float16, float32 and the like."""
    hidden_size: Count
    """Width of the residual stream."""
    layers: Count
    """Transformer blocks."""
    attention_heads: Count | None = None
    """Query heads of one block. Unset with the two below: config.json does not say."""
    key_value_heads: Count | None = None
    """Key/value heads of one block (fewer than query heads with grouped-query attention)."""
    head_dim: Count | None = None
    """Width of one head's query and key."""
    intermediate_size: Count
    """Width of the feed-forward layer."""
    vocabulary_size: Count
    """Rows of the embedding."""
    kv_cache: KvCache | None = None
    """What is kept of a request's tokens. Unset where an older operator read the model: all of every head then."""
    max_position_embeddings: Count
    """Longest context in tokens that the model was made for; a sentence embedder's own limit where it is lower."""
    quantization: Word | None = None
    """`quantization_config.quant_method`, for example awq; unset for full-precision weights."""
    chat_template: bool
    """Whether the tokenizer carries a chat template, without which /v1/chat/completions cannot work."""
    digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
    """Identity of the files: a hash over names, sizes, small files and weights (of more than 512 MiB in a folder, over
    blocks of every tensor); of a FineTuneJob's artifact, its manifest's digest."""

    revision: Word | None = None
    """Commit of the hub's repository that was read. Engines and trainers load this one, wherever its branch has moved
    since; unset for models from elsewhere, and where it was not recorded yet."""


class ResolvedModel(ModelFacts):
    """A model's facts, and what they were read from."""

    source: Annotated[str, StringConstraints(max_length=1024)]
    """The URI that is mounted into the engine."""
    reread: Word | None = None
    """Value that the annotation `hearth.dev/reread` had when the model was read."""
