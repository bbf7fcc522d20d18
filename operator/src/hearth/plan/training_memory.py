"""How much memory a training pod needs, item by item, before it is made.

The terms are those of mixed-precision LoRA: frozen weights, the adapter with its gradients and AdamW's two moments,
activations of one pass, and what the process itself takes. Activations per layer and token follow the tensors that a
decoder block keeps for its backward pass: 7 of the hidden width, 2 of the queries' and 3 of the keys' and values', 4 of
the feed-forward's. Checked against 21 published measurements, the formula was 9.9 % off on average, 3 % too low.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hearth.api.model_facts import ModelFacts

GIB = 2**30

PROCESS_CPU = int(1.5 * GIB)
"""Python with torch, transformers, TRL and their thread pools, and what the C allocator keeps. Fitted to a
measured peak: tests/unit/plan/test_training_memory.py."""
PROCESS_GPU = int(0.75 * GIB)
"""CUDA context and allocator."""

SPARE = {"CPU": 1.5, "GPU": 1.0}
"""What the memory limit of a CPU pod allows beyond the plan: going over it ends the pod, unlike slower training."""

EVALUATION_ROWS, EVALUATION_TOKENS = 32, 10240
"""Rows that are answered at once when the model is measured, and the tokens that they may have together, by
images/trainer/src/hearth_trainer/measure.py."""

ON_CPU = "accelerator.count: 0 to train on the CPU"
"""The way out that stands open without any GPU."""

PRECISION_BYTES = {"FP32": 4, "BF16": 2}
ADAPTER_BYTES = 4
"""Adapters are trained in float32."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one pass looks like."""

    micro_batch_size: int
    row_tokens: int
    """Tokens of the longest row, or of a packed sequence."""
    rank: int
    precision: str
    gradient_checkpointing: bool


@dataclass(frozen=True, slots=True)
class TrainingMemoryPlan:
    """Memory of one GPU, or of the pod on CPU, in bytes."""

    items: tuple[tuple[str, int], ...]

    @property
    def planned(self) -> int:
        """Sum of the items."""
        return sum(size for _, size in self.items)


def adapter_parameters(facts: ModelFacts, rank: int) -> int:
    """Parameters of LoRA on every linear layer of every block: rank times inputs plus outputs of each."""
    hidden, middle = facts.hidden_size, facts.intermediate_size
    queries = facts.attention_heads * facts.head_dim
    keys = facts.key_value_heads * facts.head_dim
    per_layer = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + middle)
    return rank * per_layer * facts.layers


def activation_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Activations kept for the backward pass of one micro batch."""
    tokens = shape.micro_batch_size * shape.row_tokens
    hidden, middle = facts.hidden_size, facts.intermediate_size
    queries = facts.attention_heads * facts.head_dim
    keys = facts.key_value_heads * facts.head_dim
    element = PRECISION_BYTES[shape.precision]
    one_layer = element * (7 * hidden + 2 * queries + 3 * keys + 4 * middle) * tokens
    if not shape.gradient_checkpointing:
        return one_layer * facts.layers
    return element * facts.layers * tokens * hidden + one_layer + 2 * element * tokens * max(middle, hidden)


def evaluation_bytes(facts: ModelFacts, row_tokens: int, precision: str) -> int:
    """The KV cache while held-out rows are answered; training's own memory is free by then."""
    per_token = 2 * facts.layers * facts.key_value_heads * facts.head_dim * PRECISION_BYTES[precision]
    return max(row_tokens, min(EVALUATION_ROWS * row_tokens, EVALUATION_TOKENS)) * per_token


def plan_training(facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"]) -> TrainingMemoryPlan:
    """The itemised plan."""
    adapter = adapter_parameters(facts, shape.rank) * ADAPTER_BYTES
    # The output layer is fused with the loss, a few hundred rows at a time, on both devices.
    chunk = 3 * 256 * facts.vocabulary_size * 4
    working = activation_bytes(facts, shape) + chunk
    return TrainingMemoryPlan(
        (
            ("weights", facts.parameters * PRECISION_BYTES[shape.precision]),
            ("adapter", adapter),
            ("gradients", adapter),
            ("optimizer", 2 * adapter),
            ("activations", max(working, evaluation_bytes(facts, shape.row_tokens, shape.precision))),
            ("overhead", PROCESS_CPU if device == "CPU" else PROCESS_GPU),
        )
    )


def largest_micro_batch(
    facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"], available: int | None, most: int
) -> int:
    """The largest power of two, up to `most`, whose plan fits in the available bytes; 1 where none does."""
    size = 1
    while size * 2 <= most and most % (size * 2) == 0:
        larger = plan_training(facts, _with_batch(shape, size * 2), device)
        if available is not None and larger.planned * SPARE[device] > available:
            break
        size *= 2
    return size


def _with_batch(shape: Shape, micro_batch_size: int) -> Shape:
    return Shape(micro_batch_size, shape.row_tokens, shape.rank, shape.precision, shape.gradient_checkpointing)


def refusal(
    facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"], available: int | None
) -> tuple[str, str] | None:
    """Why training cannot fit, with the numbers, and the smallest change that would; None where it fits."""
    plan = plan_training(facts, shape, device)
    if available is None or plan.planned <= available:
        return None
    parts = ", ".join(f"{name} {gib(size)}" for name, size in plan.items)
    place = "the GPU has" if device == "GPU" else "the pod can have"
    message = (
        f"training needs {gib(plan.planned)} ({parts}, for {shape.micro_batch_size} rows of {shape.row_tokens} tokens) "
        f"but {place} {gib(available)}"
    )
    return message, _change(facts, shape, device, available)


def _change(facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"], available: int) -> str:
    size = shape.micro_batch_size
    while size > 1:
        size //= 2
        if plan_training(facts, _with_batch(shape, size), device).planned <= available:
            return f"set training.microBatchSize: {size}"
    once = Shape(1, shape.row_tokens, shape.rank, shape.precision, gradient_checkpointing=True)
    if plan_training(facts, once, device).planned <= available:
        return "set training.microBatchSize: 1 and training.gradientCheckpointing: true"
    short = Shape(1, 512, shape.rank, shape.precision, gradient_checkpointing=True)
    if shape.row_tokens > 512 and plan_training(facts, short, device).planned <= available:
        return (
            "set training.microBatchSize: 1, training.gradientCheckpointing: true and training.maxSequenceLength: 512"
        )
    needed = plan_training(facts, once, device).planned
    if device == "GPU":
        gigabytes = f"{needed / 1e9 * 1.05:.0f}G"
        return f"use GPUs with more memory (accelerator.minMemory: {gigabytes}), a smaller model, or {ON_CPU}"
    return f"give the pod {gib(needed)} of memory, on a node that has as much; or use a smaller model"


def gib(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / GIB:.1f} GiB"
