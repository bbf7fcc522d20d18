"""How much memory a request's tokens take in vLLM's KV cache.

Layers that keep the same form a group; groups share one pool of blocks, so that each must be made of as many layers and
of pages as large as the others: what is missing is padded (vllm/v1/core/kv_cache_utils.py
_get_kv_cache_groups_uniform_page_size and _max_memory_usage_bytes_from_groups).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hearth.api.model_facts import CachedLayers, ModelFacts

BLOCK = 16
"""Tokens of one KV block on GPUs; lengths are suggested in multiples of it."""

PADDED_UP = 1.5
"""Where no kind of layers has this many times the layers of another, groups are as large as the largest."""


@dataclass(frozen=True, slots=True)
class CacheUse:
    """How the cache is used on one GPU, or on CPU."""

    element: int
    """Bytes of one number."""
    parallel: int = 1
    """GPUs that share the heads. With more GPUs than heads each keeps a copy of one."""
    in_flight: int = 0
    """Tokens that are worked on at once, which layers with a window keep beside it."""


def kinds(facts: ModelFacts) -> list[CachedLayers] | None:
    """The layers by what they keep; None where that is not known.

    A model that an older operator has read is taken to keep every head of every layer.
    """
    if facts.kv_cache is not None:
        return facts.kv_cache.layers
    if "bert" in f"{facts.model_type} {facts.architecture}".lower():
        return []
    if not facts.key_value_heads or not facts.head_dim:
        return None
    return [CachedLayers(layers=facts.layers, heads=facts.key_value_heads, width=2 * facts.head_dim)]


def request_bytes(layers: list[CachedLayers], tokens: int, use: CacheUse) -> int:
    """Bytes that one request of so many tokens takes at most; zero for encoders."""
    if not layers:
        return 0
    counts = [kind.layers for kind in layers]
    size = max(counts) if max(counts) < PADDED_UP * min(counts) else min(counts)
    page = max(max(1, kind.heads // use.parallel) * kind.width for kind in layers) * BLOCK * use.element
    blocks = sum(math.ceil(kind.layers / size) * _blocks(kind, tokens, use) for kind in layers)
    return blocks * size * page


def _blocks(kind: CachedLayers, tokens: int, use: CacheUse) -> int:
    if kind.window is None:
        return math.ceil(tokens / BLOCK)
    # One more, because a window need not begin where a block does (SlidingWindowSpec).
    return math.ceil(min(tokens, kind.window - 1 + use.in_flight) / BLOCK) + 1


def longest_request(layers: list[CachedLayers], room: int, use: CacheUse, most: int) -> int:
    """The longest request, up to `most` tokens and in multiples of `BLOCK` below it, that `room` bytes hold."""
    if request_bytes(layers, most, use) <= room:
        return most
    fits, too_long = 0, math.ceil(most / BLOCK)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if request_bytes(layers, middle * BLOCK, use) <= room:
            fits = middle
        else:
            too_long = middle
    return fits * BLOCK
