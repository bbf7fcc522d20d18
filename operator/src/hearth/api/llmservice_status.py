"""What an LLMService reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, ListMap
from hearth.api.model_facts import ResolvedModel
from hearth.api.shapes import Accelerator, LocalObjectReference
from hearth.api.status import StatusBase

Bytes = Annotated[int, Field(ge=0)]
Word = Annotated[str, StringConstraints(max_length=253)]


class ServedModel(ApiModel):
    """The model that the newest revision serves."""

    uri: Annotated[str, StringConstraints(max_length=1024)]
    """Where its files are."""
    digest: Annotated[str, StringConstraints(max_length=71)]
    """Identity of its files."""


class MemoryItem(ApiModel):
    """One part of the memory plan."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """weights, kv-cache, activations or overhead."""
    bytes: Bytes
    """Planned size in bytes, per GPU, or per pod on CPU."""


class MemoryPlanStatus(ApiModel):
    """The memory of one engine pod, worked out before it was made. Per GPU, or per pod on CPU; sizes in bytes."""

    planned: Bytes
    """Sum of the items."""
    available: Bytes | None = None
    """What there is: the GPU's memory within vLLM's share, the memory limit, or the largest node's memory."""
    kv_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens that the KV cache holds, all requests together."""
    items: Annotated[list[MemoryItem], Field(max_length=16), ListMap()]
    """What takes how much."""


class LLMServiceResolved(ApiModel):
    """What the operator chose where the spec left it open."""

    model: ResolvedModel | None = None
    """What the model's files say, and where they were read."""
    fine_tune_job: LocalObjectReference | None = None
    """The FineTuneJob that the model came from."""
    served_name: Annotated[str, StringConstraints(max_length=128)] | None = None
    """The `model` that clients write in requests."""
    engine_image: Annotated[str, StringConstraints(max_length=512)] | None = None
    """The image that serves."""
    device: Literal["CPU", "GPU"] | None = None
    """What the engine runs on."""
    accelerator: Accelerator | None = None
    """GPUs of one pod."""
    max_model_len: Annotated[int, Field(ge=0)] | None = None
    """Longest request in tokens."""
    max_concurrency: Annotated[int, Field(ge=0)] | None = None
    """Requests worked on at once by one pod."""
    retrieval: Literal["Dense", "Hybrid"] | None = None
    """How passages are found."""


class LLMServiceStatus(StatusBase):
    """Conditions of its own: ModelReady, Scheduled, Available, RolledOut."""

    url: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Base URL for OpenAI clients inside the cluster."""
    model: ServedModel | None = None
    """The model that the newest revision serves."""
    replicas: Annotated[int, Field(ge=0)] | None = None
    """Engine pods, ready or not."""
    ready_replicas: Annotated[int, Field(ge=0)] | None = None
    """Engine pods that have answered a real request."""
    selector: Annotated[str, StringConstraints(max_length=512)] | None = None
    """Label selector of the engine pods, for autoscalers."""
    memory: MemoryPlanStatus | None = None
    """The memory of one engine pod."""
    inspected: ResolvedModel | None = None
    """What the files of a model say that was read and does not fit. Kept, so that it is read once."""
    resolved: LLMServiceResolved | None = None
    """What the operator chose."""
