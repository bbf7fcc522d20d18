"""LLMService: a model becomes a guarded, OpenAI-compatible endpoint."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Duration, ListMap, Rule, Written
from hearth.api.crd_kind import Column, CustomKind, Scale
from hearth.api.llmservice_status import LLMServiceStatus
from hearth.api.rag import Rag
from hearth.api.sampling import Sampling
from hearth.api.shapes import (
    Accelerator,
    EnvVar,
    LocalObjectReference,
    ModelSource,
    PodOverrides,
    ResourceRequirements,
    Scheduling,
)

OWNED_FLAGS = (
    "model",
    "revision",
    "served-model-name",
    "host",
    "port",
    "max-model-len",
    "max-num-seqs",
    "dtype",
    "tensor-parallel-size",
    "runner",
)
"""Engine flags that the operator sets from other fields; writing one in `engine.args` too would be ambiguous."""

PLANNED_FLAGS = (
    "cpu-offload-gb",
    "data-parallel-size",
    "device-memory-utilization",
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "kv-cache-memory-bytes",
    "max-num-batched-tokens",
    "num-gpu-blocks-override",
    "pipeline-parallel-size",
    "prefill-context-parallel-size",
    "quantization",
)
"""Engine flags that would make the memory plan wrong: with another value the pod is killed, or wastes a GPU."""

CLOSED_FLAGS = (
    "api-key",
    "config",
    "grpc-port",
    "hf-token",
    "middleware",
    "root-path",
    "ssl-ca-certs",
    "ssl-certfile",
    "ssl-keyfile",
    "trust-remote-code",
    "uds",
)
"""Engine flags that run code from a model repository, hold a secret, or lock out the probes and the gateway."""


def _no_flag(flags: tuple[str, ...]) -> str:
    """The engine's parser takes the beginning of a flag for the flag: no key may be the beginning of one of these."""
    return (
        "!has(self.args) || self.args.all(k, ![" + ", ".join(f"'{f}'" for f in flags) + "].exists(f, f.startsWith(k)))"
    )


ServedName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128),
    Written(
        r"^[A-Za-z0-9][A-Za-z0-9._/-]*$",
        "a served name has letters, digits, '.', '_', '/' and '-', and begins with a letter or digit",
    ),
]
"""The `model` that clients write in requests."""


class Engine(ApiModel):
    """The vLLM server. Only what is written here, or needed by the memory plan, becomes a flag."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            _no_flag(OWNED_FLAGS),
            "args may not hold a flag that another field sets (maxModelLen, maxConcurrency, dtype, servedName, model, "
            "accelerator.count, task): use that field",
        ),
        Rule(
            _no_flag(PLANNED_FLAGS),
            "args may not hold a flag that changes how much memory the engine takes (gpu-memory-utilization, "
            "kv-cache-dtype, max-num-batched-tokens, quantization, …): use maxModelLen, maxConcurrency or accelerator",
        ),
        Rule(
            _no_flag(CLOSED_FLAGS),
            "args may not hold a flag that runs code of a model repository or closes the engine (trust-remote-code, "
            "api-key, ssl-keyfile, root-path, …): access.apiKeysSecretRef asks for keys; TLS ends before the gateway",
        ),
        Rule(
            "!has(self.args) || self.args.all(k, k.matches('^[a-z0-9][a-z0-9-]*$'))",
            'args are flags without their leading dashes, for example enable-prefix-caching: "true"',
        ),
    )

    image: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = None
    """vLLM image. Unset: the operator's own for GPU or CPU."""
    args: Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)] | None = None
    """Further vLLM flags without the leading dashes. "true" writes the bare flag, "false" its `no-` form.
    Refused are flags of other fields, flags that change how much memory the engine takes, and flags that run code of a
    model repository or close the engine to the gateway."""
    env: Annotated[list[EnvVar], Field(max_length=64), ListMap()] | None = None
    """Further environment variables of the engine."""
    max_model_len: Annotated[int, Field(ge=16, le=10_000_000)] | None = None
    """Longest request in tokens, prompt and answer together. Unset: what the model allows and the memory holds."""
    dtype: Literal["BFloat16", "Float16", "Float32"] | None = None
    """Type of weights, activations and cache; quantized weights stay as they are. Unset: vLLM goes by the model's own
    type, and takes one of 16 bits where that is float32."""
    max_concurrency: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Requests worked on at once by one pod; more wait in line. Unset: 256 on GPUs, 16 on CPU."""
    max_queued: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Requests that may wait beyond maxConcurrency in one gateway pod; it answers further ones with 429 and
    Retry-After. Unset: 256."""


class Gateway(ApiModel):
    """The proxy in front of every Generate service, and of every service with API keys."""

    replicas: Annotated[int, Field(ge=1, le=32)] | None = None
    """Gateway pods. Unset: 1 for one engine pod, else 2."""
    resources: ResourceRequirements | None = None
    """CPU and memory of one gateway pod. Of its memory limit (512Mi where unset) it keeps 128Mi for itself and fills
    three quarters of the rest with requests in flight; further ones get 429 and Retry-After, or 413 where one alone is
    too large."""
    request_timeout: Duration | None = None
    """Longest time for one request, from its arrival to its last byte. Unset: 10m."""


class Rollout(ApiModel):
    """How a new revision takes over: one new pod answers first, then an old one drains."""

    drain_deadline: Duration | None = None
    """How long a stopping engine or gateway pod may take to finish the requests it has. Unset: as long as a request may
    take, gateway.requestTimeout, at least 10m. A shorter one ends pods sooner and cuts what takes longer."""
    revision_history_limit: Annotated[int, Field(ge=0, le=20)] | None = None
    """Old ReplicaSets that are kept to look at. Unset: 3. To go back, put the old spec back: the operator reverts
    `kubectl rollout undo`."""


class Prompt(ApiModel):
    """Text that the gateway adds to chat requests."""

    system: Annotated[str, StringConstraints(min_length=1, max_length=16_384)] | None = None
    """System message for requests that bring none."""


class Access(ApiModel):
    """Who may call the service."""

    api_keys_secret_ref: LocalObjectReference | None = None
    """Secret with one API key per entry: the entry's value is the key itself, or JSON {"key", "user"}.
    Unset: no key is asked for."""


class LLMServiceSpec(ApiModel):
    """What to serve, on what, and under which rules."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.task == 'Generate' || !has(self.rag)", "rag needs task: Generate"),
        Rule("self.task == 'Generate' || !has(self.sampling)", "sampling needs task: Generate"),
        Rule("self.task == 'Generate' || !has(self.prompt)", "prompt needs task: Generate"),
        Rule(
            "self.task == 'Generate' || !has(self.gateway) || (has(self.access) && has(self.access.apiKeysSecretRef))",
            "an Embed service has a gateway only where access.apiKeysSecretRef is set: remove gateway, or set keys",
        ),
    )

    task: Literal["Generate", "Embed"] = "Generate"
    """Generate answers chat and text completions; Embed answers embeddings."""
    model: ModelSource
    """The model. A change of it rolls out without losing a request."""
    served_name: ServedName | None = None
    """The `model` that clients write in requests. Unset: the resource's name."""
    engine: Engine | None = None
    """The vLLM server. Unset: worked out from the model and the nodes."""
    accelerator: Accelerator | None = None
    """GPUs of one engine pod. Unset: worked out from the memory plan; CPU on a cluster without GPUs."""
    resources: ResourceRequirements | None = None
    """CPU and memory of one engine pod. Unset: requests from the memory plan."""
    scheduling: Scheduling | None = None
    """Where the engine pods run. Tolerations and the priority class hold for the gateway and the inspection too."""
    pod_overrides: PodOverrides | None = None
    """The allow-listed part of the engine pods that may be set by hand. Pull secrets, tolerations, labels and
    annotations hold for the gateway and the inspection too."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Engine pods. 0 keeps everything but the pods."""
    gateway: Gateway | None = None
    """The proxy in front of the engine."""
    rollout: Rollout | None = None
    """How a new revision takes over."""
    prompt: Prompt | None = None
    """Text that is added to requests."""
    sampling: Sampling | None = None
    """Defaults and locks of sampling parameters."""
    rag: Rag | None = None
    """Answers from a VectorIndex, with citations."""
    access: Access | None = None
    """Who may call the service. Unset: everyone who reaches it."""
    suspend: bool = False
    """Takes the pods away and keeps everything else."""


KIND = CustomKind(
    kind="LLMService",
    plural="llmservices",
    short_names=("llm",),
    spec=LLMServiceSpec,
    status=LLMServiceStatus,
    description="A model behind an OpenAI-compatible endpoint: memory planned before any pod is made, rolled out "
    "without losing a request, guarded by API keys, and answering from a VectorIndex with citations where asked to.",
    columns=(
        Column("Model", ".status.model.uri", wide=True),
        Column("Replicas", ".status.replicas", "integer"),
        Column("URL", ".status.url"),
    ),
    scale=Scale(),
)
