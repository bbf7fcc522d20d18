"""How much memory an engine pod needs, item by item, before it is made.

The model is vLLM's own: weights, then activations at the largest batch, then what is left becomes KV cache
(vllm/v1/worker/gpu_worker.py determine_available_memory). Constants were fitted on published measurements of vLLM
0.11 on H100; tests/unit/plan/test_memory.py holds the calibration points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from hearth.api.model_facts import ModelFacts

GIB = 2**30

WEIGHT_FACTOR = 1.02
"""Loaded weights against safetensors bytes: alignment and small buffers."""

SAMPLER_ROWS = 9.7
"""float32 copies of the logits at the peak of sampling (vLLM's profile run samples max-num-seqs rows)."""

GPU_SHARE = 0.92
"""vLLM's default --gpu-memory-utilization since 0.20."""

NON_TORCH = {False: int(0.15 * GIB), True: int(0.55 * GIB)}
"""CUDA context and NCCL per GPU, without and with tensor parallelism."""

CUDA_GRAPHS = 1 * GIB
"""Captured graphs, counted by vLLM since 0.21; measured between -0.9 and +1.9 GiB."""

CPU_OVERHEAD = {True: int(1.4 * GIB), False: int(1.7 * GIB)}
"""Three Python processes with torch (API server, engine core, worker), of an embedder and of a generator. Measured with
vLLM 0.32 on a real node: 1536 MiB in all for all-MiniLM-L6-v2 (87 MiB of weights), 3043 MiB for SmolLM2-135M (257 MiB
of weights, 1 GiB of cache)."""

CPU_BATCHED_TOKENS = 2048
"""vLLM's default --max-num-batched-tokens on CPU and on GPUs under 70 GiB."""

CPU_TYPICAL_TOKENS = 1024
"""Tokens that an average request holds, by which the KV cache on CPU is sized."""

CPU_CONTEXT = 8192
"""Longest request on CPU where none is asked for: longer prompts take minutes there."""

SHORTEST_CONTEXT = 2048
"""A chosen context is not cut below this: a service with less is of little use, and the user should decide."""

GPU_CONCURRENCY, CPU_CONCURRENCY = 256, 16
BLOCK = 16
"""Tokens of one KV block on GPUs; lengths are suggested in multiples of it."""

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "float8_e4m3fn": 1}


@dataclass(frozen=True, slots=True)
class Device:
    """What one engine pod runs on. Memory in bytes: of one GPU as CUDA sees it, or of the pod on CPU; None: unknown."""

    kind: Literal["CPU", "GPU"]
    count: int = 1
    memory: int | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the spec asks for; None means that the plan may choose."""

    max_model_len: int | None = None
    max_concurrency: int | None = None
    dtype: str | None = None
    embed: bool = False


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """One engine pod's memory in bytes, per GPU or per pod on CPU."""

    weights: int
    kv_cache: int
    activations: int
    overhead: int
    available: int | None
    kv_tokens: int | None
    max_model_len: int
    max_concurrency: int

    @property
    def items(self) -> list[tuple[str, int]]:
        """The parts by name."""
        return [
            ("weights", self.weights),
            ("kv-cache", self.kv_cache),
            ("activations", self.activations),
            ("overhead", self.overhead),
        ]

    @property
    def planned(self) -> int:
        """Sum of the parts."""
        return sum(size for _, size in self.items)

    @property
    def fits(self) -> bool:
        """Whether there is enough memory; held to be so where it is not known how much there is."""
        return self.available is None or self.planned <= self.available


@dataclass(frozen=True, slots=True)
class DoesNotFit:
    """The pod would fail: the message has the numbers and the smallest change that would fit."""

    message: str


def visible_gpu_memory(label_mib: int) -> int:
    """Bytes that CUDA offers of a GPU whose `nvidia.com/gpu.memory` label says `label_mib`.

    79.18 of an H100's 79.65 GiB; 2 % less on cards below 40 GiB (pytorch#175666).
    """
    return int(label_mib * 2**20 * (0.994 if label_mib >= 40_000 else 0.98))


def weight_bytes(facts: ModelFacts, dtype: str | None) -> int:
    """Bytes of the weights as loaded: as stored, unless full-precision weights are cast to `dtype`."""
    if dtype is None or facts.quantization is not None:
        return facts.weight_bytes
    return facts.weight_bytes * DTYPE_BYTES[dtype.lower()] // DTYPE_BYTES.get(facts.dtype, 2)


def kv_bytes_per_token(facts: ModelFacts, parallel: int = 1, element: int = 2) -> int:
    """KV cache of one token on one GPU. With more GPUs than key/value heads each GPU keeps a copy of one head.

    Zero for encoders (BERT and its kin), which keep no cache. (vllm/v1/kv_cache_interface.py AttentionSpec.)
    """
    if "bert" in facts.model_type.lower() or "bert" in facts.architecture.lower():
        return 0
    return facts.layers * max(1, facts.key_value_heads // parallel) * 2 * facts.head_dim * element


def activation_bytes(facts: ModelFacts, rows: int) -> int:
    """The sampler's logits at their peak, which outweighs the layers' own activations."""
    return int(SAMPLER_ROWS * rows * facts.vocabulary_size * 4)


def embedding_activation_bytes(facts: ModelFacts) -> int:
    """Activations of an embedder, which samples nothing: one layer's widest tensors for a full batch, in float32."""
    return CPU_BATCHED_TOKENS * (2 * facts.intermediate_size + 4 * facts.hidden_size) * 4


def legal_parallel(facts: ModelFacts, count: int) -> bool:
    """Whether the model's heads divide over this many GPUs (vllm/config/model.py, models/llama.py)."""
    heads, kv = facts.attention_heads, max(1, facts.key_value_heads)
    return heads % count == 0 and (kv % count == 0 or count % kv == 0)


def kv_element_bytes(facts: ModelFacts, dtype: str | None) -> int:
    """Bytes of one number in the KV cache: that of the activations' type."""
    if dtype is not None:
        return DTYPE_BYTES[dtype.lower()]
    return 4 if facts.dtype == "float32" else 2


def plan_memory(facts: ModelFacts, wish: Wish, device: Device) -> MemoryPlan | DoesNotFit:
    """The itemised plan, or why no pod should be made."""
    if wish.max_model_len is not None and wish.max_model_len > facts.max_position_embeddings:
        return DoesNotFit(
            f"engine.maxModelLen {wish.max_model_len} is longer than the model's own context of "
            f"{facts.max_position_embeddings} tokens: set it to {facts.max_position_embeddings} or less"
        )
    if device.kind == "GPU" and not legal_parallel(facts, device.count):
        legal = [n for n in range(1, 17) if legal_parallel(facts, n)]
        return DoesNotFit(
            f"{facts.attention_heads} attention heads and {facts.key_value_heads} key/value heads do not divide over "
            f"{device.count} GPUs: set accelerator.count to one of {', '.join(map(str, legal))}"
        )
    plan = _layout(facts, wish, device)
    return plan if plan.fits else DoesNotFit(_refusal(facts, wish, device, plan))


def _layout(facts: ModelFacts, wish: Wish, device: Device) -> MemoryPlan:
    """The parts at their sizes, whether they fit or not."""
    return _on_gpu(facts, wish, device) if device.kind == "GPU" else _on_cpu(facts, wish, device)


def _on_gpu(facts: ModelFacts, wish: Wish, device: Device) -> MemoryPlan:
    """The cache takes what the other parts leave; where that is too little, the size of one longest request."""
    rows = wish.max_concurrency or GPU_CONCURRENCY
    weights = int(weight_bytes(facts, wish.dtype) * WEIGHT_FACTOR) // device.count
    activations = embedding_activation_bytes(facts) if wish.embed else activation_bytes(facts, rows)
    overhead = NON_TORCH[device.count > 1] + CUDA_GRAPHS
    per_token = kv_bytes_per_token(facts, device.count, kv_element_bytes(facts, wish.dtype))
    longest = wish.max_model_len or facts.max_position_embeddings
    budget = None if device.memory is None else int(device.memory * GPU_SHARE)
    room = longest * per_token if budget is None else budget - weights - activations - overhead
    tokens = room // per_token // BLOCK * BLOCK if per_token else longest
    if wish.max_model_len is None and per_token:
        longest = min(longest, max(tokens, SHORTEST_CONTEXT))
    return MemoryPlan(
        weights=weights,
        kv_cache=max(room, longest * per_token),
        activations=activations,
        overhead=overhead,
        available=budget,
        kv_tokens=tokens if per_token else None,
        max_model_len=longest,
        max_concurrency=rows,
    )


def _on_cpu(facts: ModelFacts, wish: Wish, device: Device) -> MemoryPlan:
    """The cache holds one longest request, or all requests at a typical length, whichever is more."""
    rows = wish.max_concurrency or CPU_CONCURRENCY
    longest = wish.max_model_len or min(facts.max_position_embeddings, CPU_CONTEXT)
    per_token = kv_bytes_per_token(facts, 1, kv_element_bytes(facts, wish.dtype))
    # vLLM takes the size of the CPU cache in whole GiB (VLLM_CPU_KVCACHE_SPACE).
    wanted = max(longest, rows * min(longest, CPU_TYPICAL_TOKENS)) * per_token
    kv_cache = max(1, math.ceil(wanted / GIB)) * GIB if per_token else 0
    return MemoryPlan(
        weights=weight_bytes(facts, wish.dtype),
        kv_cache=kv_cache,
        activations=embedding_activation_bytes(facts) if wish.embed else activation_bytes(facts, rows),
        overhead=CPU_OVERHEAD[wish.embed],
        available=device.memory,
        kv_tokens=kv_cache // per_token if per_token else None,
        max_model_len=longest,
        max_concurrency=rows,
    )


def _refusal(facts: ModelFacts, wish: Wish, device: Device, needs: MemoryPlan) -> str:
    place = f"{device.count} GPU{'s' if device.count > 1 else ''} of" if device.kind == "GPU" else "one engine pod with"
    parts = ", ".join(f"{name} {_gib(size)}" for name, size in needs.items)
    each = " each" if device.kind == "GPU" and device.count > 1 else ""
    return (
        f"needs {_gib(needs.planned)}{each} ({parts} for {needs.max_model_len} tokens and {needs.max_concurrency} "
        f"requests at once), but {place} {_gib(needs.available or 0)} usable memory was found. "
        f"Smallest change that fits: {_smallest_change(facts, wish, device, needs)}"
    )


def _smallest_change(facts: ModelFacts, wish: Wish, device: Device, needs: MemoryPlan) -> str:
    """The cheapest edit that would fit: fewer requests at once, then a shorter context, then more memory."""
    for rows in (128, 64, 32, 16, 8, 4, 2, 1):
        if rows < needs.max_concurrency and _layout(facts, replace(wish, max_concurrency=rows), device).fits:
            return f"engine.maxConcurrency: {rows}"
    for length in (65_536, 32_768, 16_384, 8192, 4096, 2048):
        if length < needs.max_model_len and _layout(facts, replace(wish, max_model_len=length), device).fits:
            return f"engine.maxModelLen: {length}"
    return _more_memory(facts, wish, device, needs)


def _more_memory(facts: ModelFacts, wish: Wish, device: Device, needs: MemoryPlan) -> str:
    if device.kind == "CPU":
        return f"resources.limits.memory: {math.ceil(needs.planned / GIB)}Gi, on a node that has as much"
    for count in range(device.count + 1, 17):
        if legal_parallel(facts, count) and _layout(facts, wish, replace(device, count=count)).fits:
            return f"accelerator.count: {count}"
    gigabytes = math.ceil(needs.planned / GPU_SHARE / 0.98 / 1e9)
    return f"accelerator.minMemory: {gigabytes}G, on nodes that have such GPUs"


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
