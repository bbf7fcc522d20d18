"""How much memory an engine pod needs, item by item, before it is made.

The model is vLLM's own: weights, then activations at the largest batch, then what is left becomes KV cache
(vllm/v1/worker/gpu_worker.py determine_available_memory). Constants were fitted on published measurements of vLLM
0.11 on H100; tests/unit/plan/test_memory.py holds the calibration points.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import Literal

from hearth.api.model_facts import ModelFacts
from hearth.plan.kv_cache import BLOCK, CacheUse, kinds, longest_request, request_bytes

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
"""Python processes with torch, of an embedder and of a generator. Measured with vLLM 0.32 on a real node, while they
were three (API server, engine core, worker): 1536 MiB in all for all-MiniLM-L6-v2 (87 MiB of weights), 3043 MiB for
SmolLM2-135M (257 MiB of weights, 1 GiB of cache). They are two now: 2634 MiB for SmolLM2-135M, so this has room."""

CPU_BATCHED_TOKENS = 2048
"""vLLM's default --max-num-batched-tokens on CPU and on GPUs under 70 GiB."""

GPU_BATCHED_TOKENS = ((160 * GIB, 16384), (70 * GIB, 8192), (0, CPU_BATCHED_TOKENS))
"""The same by a GPU's memory (vllm/engine/arg_utils.py; an A100 of 80 GiB takes 2048, which needs less)."""

GPU_BATCHES = 2
"""Batches that are worked on at once: vLLM plans the next one while a GPU works on the one before."""

UNKNOWN_CACHE = {"CPU": 4 * GIB, "GPU": 1 * GIB}
"""Cache of a model whose cache could not be worked out; on GPUs at least, of what is left there."""

CPU_TYPICAL_TOKENS = 1024
"""Tokens that an average request holds, by which the KV cache on CPU is sized."""

CPU_CONTEXT = 8192
"""Longest request on CPU where none is asked for: longer prompts take minutes there. The same for a model whose cache
is not known."""

SHORTEST_CONTEXT = 2048
"""A chosen context is not cut below this: a service with less is of little use, and the user should decide."""

SHORTEST_ADVICE = 256
"""A shorter context is not suggested either: more memory is, then."""

GPU_CONCURRENCY, CPU_CONCURRENCY = 256, 16

STORED_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4, "float64": 8, "float8_e4m3fn": 1}


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


def label_mib(visible: int) -> int:
    """Least `nvidia.com/gpu.memory` of a GPU that offers so many bytes."""
    return bisect_left(range(2**24), visible, key=visible_gpu_memory)


def element_bytes(dtype: str | None) -> int:
    """Bytes of one number of loaded weights, activations and cache.

    Two, unless float32 is asked for: left to itself vLLM takes a 16-bit type, for weights in float32 too, and on CPU
    too (vllm/config/model.py _resolve_auto_dtype).
    """
    return 4 if dtype == "Float32" else 2


def weight_bytes(facts: ModelFacts, dtype: str | None) -> int:
    """Bytes of the weights as loaded: quantized ones as stored, others in the type that is loaded."""
    if facts.quantization is not None:
        return facts.weight_bytes
    return facts.weight_bytes * element_bytes(dtype) // STORED_BYTES.get(facts.dtype, 2)


def activation_bytes(facts: ModelFacts, rows: int) -> int:
    """The sampler's logits at their peak, which outweighs the layers' own activations."""
    return int(SAMPLER_ROWS * rows * facts.vocabulary_size * 4)


def embedding_activation_bytes(facts: ModelFacts) -> int:
    """Activations of an embedder, which samples nothing: one layer's widest tensors for a full batch, in float32."""
    return CPU_BATCHED_TOKENS * (2 * facts.intermediate_size + 4 * facts.hidden_size) * 4


def legal_parallel(facts: ModelFacts, count: int) -> bool:
    """Whether the model's heads divide over this many GPUs (vllm/config/model.py, models/llama.py)."""
    heads, kv = facts.attention_heads, facts.key_value_heads
    if not heads or not kv:
        return True  # vLLM knows
    return heads % count == 0 and (kv % count == 0 or count % kv == 0)


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
    budget = None if device.memory is None else int(device.memory * GPU_SHARE)
    room = None if budget is None else budget - weights - activations - overhead
    use = CacheUse(element_bytes(wish.dtype), device.count, GPU_BATCHES * _gpu_batch(device.memory))
    longest, cache, tokens = _cache(facts, wish.max_model_len, room, use)
    return MemoryPlan(
        weights=weights,
        kv_cache=cache,
        activations=activations,
        overhead=overhead,
        available=budget,
        kv_tokens=tokens,
        max_model_len=longest,
        max_concurrency=rows,
    )


def _gpu_batch(memory: int | None) -> int:
    return next(tokens for least, tokens in GPU_BATCHED_TOKENS if memory is None or memory >= least)


def _cache(facts: ModelFacts, wanted: int | None, room: int | None, use: CacheUse) -> tuple[int, int, int | None]:
    """The longest request, bytes of the cache and the tokens that it holds, where `room` bytes are left for it."""
    layers, most = kinds(facts), wanted or facts.max_position_embeddings
    if layers is None:
        return wanted or min(most, CPU_CONTEXT), max(room or 0, UNKNOWN_CACHE["GPU"]), None
    if not layers:
        return most, max(room or 0, 0), None
    if wanted is None and room is not None:
        most = min(most, max(longest_request(layers, room, use, most), SHORTEST_CONTEXT))
    needed = request_bytes(layers, most, use)
    cache = max(room or 0, needed)
    return most, cache, _tokens(cache if room is None else room, most, needed)


def _tokens(cache: int, longest: int, needed: int) -> int:
    """Tokens of all requests together, in whole blocks, if each is as long as can be (get_kv_cache_capacity)."""
    return max(0, cache) * longest // needed // BLOCK * BLOCK


def _on_cpu(facts: ModelFacts, wish: Wish, device: Device) -> MemoryPlan:
    """The cache holds one longest request, or all requests at a typical length, whichever is more."""
    rows = wish.max_concurrency or CPU_CONCURRENCY
    longest = wish.max_model_len or min(facts.max_position_embeddings, CPU_CONTEXT)
    use, layers = CacheUse(element_bytes(wish.dtype), in_flight=CPU_BATCHED_TOKENS), kinds(facts)
    kv_cache, tokens = UNKNOWN_CACHE["CPU"], None
    if layers is not None:
        needed = request_bytes(layers, longest, use)
        wanted = max(needed, rows * request_bytes(layers, min(longest, CPU_TYPICAL_TOKENS), use))
        # vLLM takes the size of the CPU cache in whole GiB (VLLM_CPU_KVCACHE_SPACE).
        kv_cache = math.ceil(wanted / GIB) * GIB
        tokens = _tokens(kv_cache, longest, needed) if needed else None
    return MemoryPlan(
        weights=weight_bytes(facts, wish.dtype),
        kv_cache=kv_cache,
        activations=embedding_activation_bytes(facts) if wish.embed else activation_bytes(facts, rows),
        overhead=CPU_OVERHEAD[wish.embed],
        available=device.memory,
        kv_tokens=tokens,
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
    length = _longest_that_fits(facts, wish, device, needs.max_model_len)
    if length >= SHORTEST_ADVICE:
        return f"engine.maxModelLen: {length}"
    return _more_memory(facts, wish, device, needs)


def _longest_that_fits(facts: ModelFacts, wish: Wish, device: Device, below: int) -> int:
    """The longest context, in multiples of `BLOCK`, that fits; 0 where none does."""
    fits, too_long = 0, math.ceil(below / BLOCK)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if _layout(facts, replace(wish, max_model_len=middle * BLOCK), device).fits:
            fits = middle
        else:
            too_long = middle
    return fits * BLOCK


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
