"""How much memory a training pod needs, item by item, before it is made.

The terms are those of mixed-precision LoRA: frozen weights, the adapter with its gradients and AdamW's two moments,
activations of one pass, and what the process itself takes. Activations per layer and token follow the tensors that a
decoder block keeps for its backward pass: 7 of the hidden width, 2 of the queries' and 3 of the keys' and values', 4 of
the feed-forward's. Checked against 21 published measurements, the formula was 9.9 % off on average, 3 % too low.

When training has ended its memory is free, and the model is loaded, measured and merged: that may need more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from hearth.api.model_facts import ModelFacts

GIB = 2**30

PROCESS_CPU = int(1.5 * GIB)
"""Python with torch, transformers, TRL and their thread pools, and what the C allocator keeps. Fitted to a
measured peak: tests/unit/plan/test_training_memory.py."""
PROCESS_GPU = int(0.75 * GIB)
"""CUDA context and allocator."""
PROCESS_BESIDE_GPU = 4 * GIB
"""What the process of a pod with a GPU takes of the node's memory."""

SPARE = {"CPU": 1.5, "GPU": 1.0}
"""What the memory limit of a CPU pod allows beyond the plan: going over it ends the pod, unlike slower training."""

EVALUATION_ROWS, EVALUATION_TOKENS = 32, 12288
"""Rows that are answered at once when the model is measured, and the tokens that they may have together, by
images/trainer/src/hearth_trainer/measure.py."""

ON_CPU = "accelerator.count: 0 to train on the CPU"
"""The way out that stands open without any GPU."""

LOGIT_POSITIONS = 256
"""Positions whose logits are there at once, by images/trainer/src/hearth_trainer/output_loss.py on CPU, and by TRL's
fused loss on a GPU."""

ROW_BYTES, TOKEN_BYTES, PREPARED_TOKEN_BYTES, PREPARED_ROWS = 2500, 60, 125, 1000
"""What a row to train on and each of its tokens take in the memory of the pod, as text, as Arrow and as numbers; and
what they take besides while TRL prepares them, so many rows at once. Fitted to measured peaks:
tests/unit/plan/test_training_memory.py."""

PRECISION_BYTES = {"FP32": 4, "BF16": 2}
ADAPTER_BYTES = 4
"""Adapters are trained in float32."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What one pass looks like, and how many rows there are to pass over."""

    micro_batch_size: int
    row_tokens: int
    """Tokens of the longest row, or of a packed sequence."""
    rank: int
    precision: str
    gradient_checkpointing: bool
    train_rows: int = 0
    train_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TrainingMemoryPlan:
    """Memory of one GPU, or of the pod on CPU, in bytes."""

    items: tuple[tuple[str, int], ...]
    beside_gpu: int = 0
    """What a pod with a GPU needs of the node's memory: for weights on their way to the GPU, the rows, the process."""

    @property
    def planned(self) -> int:
        """Sum of the items."""
        return sum(size for _, size in self.items)


def _widths(facts: ModelFacts) -> tuple[int, int]:
    """Of all queries and of all keys of a layer; the hidden width, which few models exceed, where that is not known."""
    if not facts.attention_heads or not facts.key_value_heads or not facts.head_dim:
        return facts.hidden_size, facts.hidden_size
    return facts.attention_heads * facts.head_dim, facts.key_value_heads * facts.head_dim


def adapter_parameters(facts: ModelFacts, rank: int) -> int:
    """Parameters of LoRA on every linear layer of every block: rank times inputs plus outputs of each."""
    hidden, middle = facts.hidden_size, facts.intermediate_size
    queries, keys = _widths(facts)
    per_layer = 2 * (hidden + queries) + 2 * (hidden + keys) + 3 * (hidden + middle)
    return rank * per_layer * facts.layers


def activation_bytes(facts: ModelFacts, shape: Shape) -> int:
    """Activations kept for the backward pass of one micro batch."""
    tokens = shape.micro_batch_size * shape.row_tokens
    hidden, middle = facts.hidden_size, facts.intermediate_size
    queries, keys = _widths(facts)
    element = PRECISION_BYTES[shape.precision]
    one_layer = element * (7 * hidden + 2 * queries + 3 * keys + 4 * middle) * tokens
    if not shape.gradient_checkpointing:
        return one_layer * facts.layers
    return element * facts.layers * tokens * hidden + one_layer + 2 * element * tokens * max(middle, hidden)


def row_bytes(shape: Shape) -> int:
    """The rows in the memory of the pod, whatever it trains on."""
    at_once = shape.train_tokens * min(shape.train_rows, PREPARED_ROWS) // max(shape.train_rows, 1)
    return shape.train_rows * ROW_BYTES + shape.train_tokens * TOKEN_BYTES + at_once * PREPARED_TOKEN_BYTES


def ending_bytes(facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"]) -> int:
    """What the end of a run holds: one whole model, and what it takes to measure it and to merge into it.

    On a GPU and with BF16 the model is held in the type that it is stored in, otherwise it may be in float32 (`finish`
    in images/trainer/src/hearth_trainer/train.py). Merging and comparing convert one layer at a time to float32.
    """
    as_stored = device == "GPU" or shape.precision == "BF16"
    weights = facts.weight_bytes if as_stored else facts.parameters * 4
    element = 2 if as_stored and facts.dtype in ("bfloat16", "float16") else 4
    per_token = 2 * facts.layers * _widths(facts)[1] * element
    tokens = max(shape.row_tokens, min(EVALUATION_ROWS * shape.row_tokens, EVALUATION_TOKENS))
    layer = facts.hidden_size * max(facts.vocabulary_size, 2 * facts.intermediate_size) * 4
    return weights + max(tokens * per_token + _logits(facts), layer)


def _logits(facts: ModelFacts) -> int:
    return 3 * LOGIT_POSITIONS * facts.vocabulary_size * 4


def plan_training(facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"]) -> TrainingMemoryPlan:
    """The itemised plan. `ending` is what the end of the run needs beyond what training does."""
    adapter = adapter_parameters(facts, shape.rank) * ADAPTER_BYTES
    weights, rows = facts.parameters * PRECISION_BYTES[shape.precision], row_bytes(shape)
    items = [
        ("weights", weights),
        ("adapter", adapter),
        ("gradients", adapter),
        ("optimizer", 2 * adapter),
        ("activations", activation_bytes(facts, shape) + _logits(facts)),
    ]
    more = adapter + ending_bytes(facts, shape, device) - sum(size for _, size in items)
    if more > 0:
        items.append(("ending", more))
    if device == "CPU":
        items.append(("rows", rows))
    items.append(("overhead", PROCESS_CPU if device == "CPU" else PROCESS_GPU))
    return TrainingMemoryPlan(tuple(items), 2 * weights + rows + PROCESS_BESIDE_GPU if device == "GPU" else 0)


def largest_micro_batch(
    facts: ModelFacts, shape: Shape, device: Literal["CPU", "GPU"], available: int | None, most: int
) -> int:
    """The largest power of two, up to `most`, whose plan fits in the available bytes; 1 where none does."""
    size = 1
    while size * 2 <= most and most % (size * 2) == 0:
        larger = plan_training(facts, replace(shape, micro_batch_size=size * 2), device)
        if available is not None and larger.planned * SPARE[device] > available:
            break
        size *= 2
    return size


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
        if plan_training(facts, replace(shape, micro_batch_size=size), device).planned <= available:
            return f"set training.microBatchSize: {size}"
    once = replace(shape, micro_batch_size=1, gradient_checkpointing=True)
    if plan_training(facts, once, device).planned <= available:
        return "set training.microBatchSize: 1 and training.gradientCheckpointing: true"
    short = replace(once, row_tokens=512)
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
