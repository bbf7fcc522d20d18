"""Works out every hyper-parameter that the spec leaves open, and what the training pod runs on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hearth.api.base import Json, decimal, quantity
from hearth.api.finetunejob import FineTuneJobSpec, Training
from hearth.api.finetunejob_status import ResolvedDataset, ResolvedTraining
from hearth.api.model_facts import ModelFacts
from hearth.api.shapes import Accelerator, Toleration
from hearth.plan.gpus import fits, gpu_nodes, why_unschedulable
from hearth.plan.memory import label_mib, visible_gpu_memory
from hearth.plan.open_nodes import Placement, placement
from hearth.plan.training_memory import SPARE, Shape, TrainingMemoryPlan, largest_micro_batch, plan_training, refusal
from hearth.render.gpu import resource_name

DEFAULT_SEQUENCE = 2048
DEFAULT_BATCH = 16
DEFAULT_EPOCHS = 3
MOST_ROWS_AT_ONCE = {"CPU": 4, "GPU": 16}
"""Of one pass, where nothing else asks for fewer. On CPU more are not faster."""
FULL_PASS_TOKENS = 768
"""On CPU a pass over this many tokens keeps the cores as busy as a longer one, whose activations no longer fit the
caches and whose rows are padded to the longest of more. SmolLM2-135M on two cores, tokens a second in passes of 8, 4,
2 and 1 rows: 84, 106, 126 and 112 of 280 tokens each; of 170 each 125 in passes of 4, 115 of 2 and 90 of 1."""


@dataclass(frozen=True, slots=True)
class TrainingChoice:
    """What the training pod will do and on what. `refusal`: why it cannot fit, and the smallest change."""

    training: ResolvedTraining
    accelerator: Accelerator
    device: Literal["CPU", "GPU"]
    memory: TrainingMemoryPlan
    available: int | None
    refusal: tuple[str, str] | None
    no_node: str | None
    """Why no node could take the pod; it waits then."""
    own_limit: int | None = None
    """Bytes of memory that the spec limits the pod to."""

    @property
    def required(self) -> Accelerator:
        """What is asked of the scheduler: the accelerator with as much memory as was planned."""
        return _required(self.accelerator, self.memory, self.available)

    @property
    def memory_request(self) -> int:
        """Bytes that are reserved: the plan on CPU; beside a GPU all that may be used, but no more than the limit."""
        if self.device == "CPU":
            return self.memory.planned
        return min(self.memory_limit, self.own_limit or self.memory_limit)

    @property
    def memory_limit(self) -> int:
        """Bytes of the node's memory that the pod may use."""
        if self.device == "CPU":
            # Never below the plan: where no node has that much (any more), the pod waits for one.
            spare = min(int(self.memory.planned * SPARE["CPU"]), self.available or 2**63)
            return max(self.memory.planned, spare)
        return self.memory.beside_gpu


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was chosen when training began, which nodes that come and go do not change."""

    training: ResolvedTraining
    accelerator: Accelerator | None


def _asked(spec: FineTuneJobSpec, begun: Accelerator | None) -> Accelerator:
    """The accelerator of the spec; where it names no count, that of the start, and None before it.

    Who says what the GPU must be like wants one.
    """
    wanted = spec.accelerator or Accelerator()
    if wanted.count is not None:
        return wanted
    if wanted.min_memory or wanted.products or wanted.min_compute_capability:
        return wanted.model_copy(update={"count": 1})
    return wanted.model_copy(update={"count": begun.count if begun is not None else None})


def _required(accelerator: Accelerator, memory: TrainingMemoryPlan, available: int | None) -> Accelerator:
    """The accelerator with `minMemory` no less than the plan: nodes with smaller GPUs than planned with are there too.

    As it is where no node says how much memory its GPUs have: asked for by a label, none would be found.
    """
    if not accelerator.count or available is None:
        return accelerator
    planned = f"{label_mib(memory.planned)}Mi"
    return accelerator.model_copy(update={"min_memory": max(planned, accelerator.min_memory or "0", key=quantity)})


def _placement(spec: FineTuneJobSpec, accelerator: Accelerator) -> Placement:
    """Where the training pod may run; one with GPUs tolerates the taint of their nodes."""
    gpu = Toleration(key=resource_name(accelerator), operator="Exists", effect="NoSchedule")
    return placement(spec.scheduling, spec.pod_overrides, [gpu] if accelerator.count else [])


def _available_memory(spec: FineTuneJobSpec, accelerator: Accelerator, nodes: Sequence[Json]) -> int | None:
    """Bytes that one GPU of the fitting nodes offers, or that a CPU pod may have; None where nothing says.

    Where every node is away for now, those that will be back: what is chosen at the start stays.
    """
    where = _placement(spec, accelerator)
    usable = where.open(nodes) or where.allowed(nodes)
    if accelerator.count:
        fitting = [n for n in gpu_nodes(usable, resource_name(accelerator)) if fits(accelerator, n)]
        sizes = [visible_gpu_memory(n.memory_mib) for n in fitting if n.memory_mib is not None]
        return max(sizes, default=None)
    limit = _own_limit(spec)
    return limit if limit is not None else max((m for n in usable if (m := _main_memory(n)) is not None), default=None)


def _main_memory(node: Json) -> int | None:
    told = node.get("status", {}).get("allocatable", {}).get("memory")
    return None if told is None else int(quantity(told))


def _has_room(spec: FineTuneJobSpec, choice: TrainingChoice, nodes: Sequence[Json]) -> bool:
    """Whether an empty node would take the pod of this choice, beside whose GPU stands main memory too."""
    own = spec.pod_overrides.resources if spec.pod_overrides else None
    asked = (own.requests or {}).get("memory") if own else None
    needed = choice.memory_request if asked is None else int(quantity(asked))
    roomy = [n for n in _placement(spec, choice.accelerator).open(nodes) if (_main_memory(n) or needed) >= needed]
    # What no GPU can hold is told, with the CPU as one way out, and not moved there.
    required = choice.required if choice.refusal is None else choice.accelerator
    return any(fits(required, n) for n in gpu_nodes(roomy, resource_name(required)))


def _own_limit(spec: FineTuneJobSpec) -> int | None:
    """The memory limit that the spec sets, in bytes."""
    overrides = spec.pod_overrides.resources if spec.pod_overrides else None
    limit = (overrides.limits or {}).get("memory") if overrides else None
    return None if limit is None else int(quantity(limit))


def total_steps(training: Training, dataset: ResolvedDataset, length: int, batch: int, micro: int) -> int:
    """Optimizer steps, as transformers counts them: a last, smaller batch counts.

    With packing an estimate from below: rows seldom fill a sequence of `length` tokens to its end.
    """
    if training.max_steps is not None:
        return training.max_steps
    sequences = math.ceil(dataset.train_tokens / max(1, length)) if training.packing else dataset.train_rows
    passes = math.ceil(sequences / micro)
    return max(1, math.ceil(passes / (batch // micro))) * (training.epochs or DEFAULT_EPOCHS)


def choose(
    spec: FineTuneJobSpec,
    facts: ModelFacts,
    dataset: ResolvedDataset,
    nodes: Sequence[Json],
    recorded: Recorded | None,
) -> TrainingChoice:
    """The whole choice. What was recorded at the start stays: a resumed run must see its rows in the same batches."""
    begun = recorded.accelerator if recorded else None
    accelerator = _asked(spec, begun)
    if accelerator.count is not None:
        return _on(accelerator, spec, facts, dataset, nodes, recorded)
    on_gpu = _on(accelerator.model_copy(update={"count": 1}), spec, facts, dataset, nodes, recorded)
    if _has_room(spec, on_gpu, nodes):
        return on_gpu
    return _on(accelerator.model_copy(update={"count": 0}), spec, facts, dataset, nodes, recorded)


def _on(
    accelerator: Accelerator,
    spec: FineTuneJobSpec,
    facts: ModelFacts,
    dataset: ResolvedDataset,
    nodes: Sequence[Json],
    recorded: Recorded | None,
) -> TrainingChoice:
    device: Literal["CPU", "GPU"] = "GPU" if accelerator.count else "CPU"
    available = _available_memory(spec, accelerator, nodes)
    training = recorded.training if recorded else _resolve(spec, facts, dataset, device, available)
    shape = _shape(spec, training, dataset)
    limited = device == "CPU" and _own_limit(spec) is not None
    begun = recorded.accelerator if recorded else None
    memory = plan_training(facts, shape, device)
    return TrainingChoice(
        training=training,
        accelerator=accelerator,
        device=device,
        memory=memory,
        available=available,
        # Nodes that have gone since the start make a new pod wait. Only a change of the spec can refuse it.
        refusal=None if accelerator == begun and not limited else refusal(facts, shape, device, available),
        no_node=why_unschedulable(_required(accelerator, memory, available), nodes),
        own_limit=_own_limit(spec),
    )


def sequence_length(spec: FineTuneJobSpec, facts: ModelFacts | None) -> int:
    """Longest row in tokens."""
    wanted = (spec.training.max_sequence_length if spec.training else None) or DEFAULT_SEQUENCE
    return min(wanted, facts.max_position_embeddings) if facts is not None else wanted


def _shape(spec: FineTuneJobSpec, training: ResolvedTraining, dataset: ResolvedDataset) -> Shape:
    packed = bool(spec.training and spec.training.packing)
    tokens = training.max_sequence_length if packed else min(training.max_sequence_length, dataset.longest_row)
    return Shape(
        micro_batch_size=training.micro_batch_size,
        row_tokens=max(tokens, 1),
        rank=training.rank,
        precision=training.precision,
        gradient_checkpointing=training.gradient_checkpointing,
        train_rows=dataset.train_rows,
        train_tokens=dataset.train_tokens,
    )


def _resolve(
    spec: FineTuneJobSpec,
    facts: ModelFacts,
    dataset: ResolvedDataset,
    device: Literal["CPU", "GPU"],
    available: int | None,
) -> ResolvedTraining:
    written = spec.training or Training()
    rank = (spec.adapter.rank if spec.adapter else None) or 16
    batch = written.global_batch_size or _default_batch(written.micro_batch_size)
    checkpointing = written.gradient_checkpointing
    draft = ResolvedTraining(
        rank=rank,
        alpha=(spec.adapter.alpha if spec.adapter else None) or 2 * rank,
        learning_rate=f"{decimal(written.learning_rate or '2e-4'):g}",
        total_steps=0,
        global_batch_size=batch,
        micro_batch_size=written.micro_batch_size or 1,
        max_sequence_length=sequence_length(spec, facts),
        precision=written.precision or ("BF16" if device == "GPU" else "FP32"),
        gradient_checkpointing=device == "GPU" if checkpointing is None else checkpointing,
        seed=42 if written.seed is None else written.seed,
        trainer=spec.trainer or "TRL",
    )
    micro = written.micro_batch_size
    if micro is None:
        rows = _most_rows(written, dataset, draft.max_sequence_length, device)
        most = math.gcd(batch, 2 ** int(math.log2(rows)))
        micro = largest_micro_batch(facts, _shape(spec, draft, dataset), device, available, most)
    steps = total_steps(written, dataset, draft.max_sequence_length, batch, micro)
    return draft.model_copy(update={"micro_batch_size": micro, "total_steps": steps})


def _most_rows(written: Training, dataset: ResolvedDataset, length: int, device: Literal["CPU", "GPU"]) -> int:
    """Above how many rows in one pass nothing is gained."""
    if device == "GPU":
        return MOST_ROWS_AT_ONCE[device]
    row = length if written.packing else min(length, math.ceil(dataset.train_tokens / max(1, dataset.train_rows)))
    return max(1, min(MOST_ROWS_AT_ONCE[device], FULL_PASS_TOKENS // max(1, row)))


def _default_batch(micro: int | None) -> int:
    """Less memory for one pass must not mean other training: 16 rows, or a little more where `micro` says so."""
    return math.ceil(DEFAULT_BATCH / micro) * micro if micro else DEFAULT_BATCH
