"""What a FineTuneJob reports."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, ListMap, Timestamp
from hearth.api.model_facts import ResolvedModel
from hearth.api.shapes import Accelerator, Digest
from hearth.api.status import StatusBase

Number = Annotated[str, StringConstraints(max_length=24)]
"""A decimal number as text."""
Word = Annotated[str, StringConstraints(max_length=253)]
Count = Annotated[int, Field(ge=0)]


class Finding(ApiModel):
    """What the linter counted."""

    check: Word
    """malformed, missingField, emptyTargets, tooLong, duplicates or leakage."""
    count: Count
    """Rows concerned."""
    lines: Annotated[list[Word], Field(max_length=10)] | None = None
    """The first of them, as `file:line`."""


class ResolvedDataset(ApiModel):
    """The rows as the linter found them."""

    format: Word
    """Their format."""
    digest: Digest
    """Identity of the rows; training refuses rows that have changed since."""
    train_rows: Count
    """Rows to learn from."""
    eval_rows: Count
    """Held-out rows."""
    train_tokens: Count
    """Tokens of the training rows."""
    longest_row: Count
    """Tokens of the longest row."""
    longest_target: Count
    """Tokens of the longest target."""
    findings: Annotated[list[Finding], Field(max_length=16), ListMap(("check",))] | None = None
    """What was counted."""


class ResolvedTraining(ApiModel):
    """Hyper-parameters after every unset field was worked out."""

    rank: Count
    """Rank of the adapter."""
    alpha: Count
    """Scale of the adapter."""
    learning_rate: Number
    """Peak learning rate."""
    total_steps: Count
    """Optimizer steps of the whole run; with packing an estimate, `progress` has what was counted."""
    global_batch_size: Count
    """Rows per optimizer step."""
    micro_batch_size: Count
    """Rows per forward pass."""
    max_sequence_length: Count
    """Longest row in tokens."""
    precision: Word
    """Type of the base weights."""
    gradient_checkpointing: bool
    """Whether activations are computed again."""
    seed: Count
    """Seed of the row order."""
    trainer: Word
    """Training library."""


class FineTuneJobResolved(ApiModel):
    """What the operator chose or found out."""

    model: ResolvedModel | None = None
    """The base model's facts."""
    dataset: ResolvedDataset | None = None
    """The rows as the linter found them."""
    check: Word | None = None
    """Digest of the sources that `model` and `dataset` were read from: until the start, other sources are read anew."""
    training: ResolvedTraining | None = None
    """Hyper-parameters in full."""
    accelerator: Accelerator | None = None
    """GPUs of the training pod; count 0 is CPU."""
    claim: Word | None = None
    """The PersistentVolumeClaim of checkpoints and artifacts."""


class Progress(ApiModel):
    """How far training is; refreshed at most every 10 s."""

    step: Count
    """Optimizer steps done."""
    total_steps: Count | None = None
    """Optimizer steps of the whole run."""
    epoch: Number | None = None
    """Passes over the rows done."""
    loss: Number | None = None
    """Training loss of the last step."""
    tokens_per_second: Number | None = None
    """Speed."""
    eta: Annotated[str, StringConstraints(max_length=24)] | None = None
    """Time left, as a duration."""
    updated_at: Timestamp
    """When this was received."""


class MemoryItem(ApiModel):
    """One part of the memory plan."""

    name: Annotated[str, StringConstraints(max_length=63)]
    """weights, adapter, gradients, optimizer, activations, logits or overhead."""
    bytes: Count
    """Planned size in bytes."""


class TrainingMemory(ApiModel):
    """Memory of the training pod, worked out before it was made; of one GPU, or of the pod on CPU. Bytes."""

    planned: Count
    """Sum of the items."""
    available: Count | None = None
    """What there is: the GPU's memory, the memory limit, or that of the largest node which may take the pod."""
    observed_peak: Count | None = None
    """Highest use that the trainer measured."""
    items: Annotated[list[MemoryItem], Field(max_length=16), ListMap()]
    """What takes how much."""


class Checkpoint(ApiModel):
    """The newest complete checkpoint that a training pod told of."""

    step: Count
    """Its optimizer step."""
    at: Timestamp
    """When it was told."""


class Score(ApiModel):
    """One measured figure."""

    subject: Word
    """What was measured: base or tuned."""
    metric: Word
    """By what."""
    value: Number
    """The outcome."""


class GateResult(ApiModel):
    """Whether the tuned model reached what was asked of it."""

    passed: bool
    """Whether it did."""
    reason: Annotated[str, StringConstraints(max_length=1024)]
    """The figures behind it."""


class Artifact(ApiModel):
    """A published model."""

    kind: Literal["Adapter", "Merged"]
    """What it is."""
    uri: Annotated[str, StringConstraints(max_length=1024)]
    """Where it is: `pvc://claim/path`, usable as a model source."""
    digest: Digest
    """Digest of its manifest, which holds the digest of every file."""
    size: Count
    """Bytes."""


class Lineage(ApiModel):
    """What made the artifacts."""

    model: Word
    """Digest of the base model."""
    dataset: Word
    """Digest of the rows."""
    image: Annotated[str, StringConstraints(max_length=512)]
    """Training image."""
    seed: Count
    """Seed."""
    spec_hash: Word
    """Hash of the fields that define the artifact."""
    libraries: Annotated[dict[str, Annotated[str, StringConstraints(max_length=64)]], Field(max_length=16)] | None = (
        None
    )
    """Versions of the training libraries."""


class FineTuneJobStatus(StatusBase):
    """Conditions of its own: DataReady, Admitted, Training, Evaluated, Exported."""

    start_time: Timestamp | None = None
    """When the training pod was first asked for. From then on the fields that define the artifact are fixed."""
    training_start_time: Timestamp | None = None
    """When the first training pod began to run, after any time in a queue; budget.deadline counts from here."""
    completion_time: Timestamp | None = None
    """When the job ended, well or not."""
    attempt: Count | None = None
    """Training pods that failed so far, interruptions not counted, plus one."""
    interruptions: Count | None = None
    """Times that training was interrupted and resumed."""
    progress: Progress | None = None
    """How far training is."""
    memory: TrainingMemory | None = None
    """The memory plan."""
    checkpoint: Checkpoint | None = None
    """The newest complete checkpoint."""
    evaluation: Annotated[list[Score], Field(max_length=50), ListMap(("subject", "metric"))] | None = None
    """Base and tuned model on the held-out rows."""
    gate: GateResult | None = None
    """Whether the gate was met."""
    artifacts: Annotated[list[Artifact], Field(max_length=8), ListMap(("kind",))] | None = None
    """What was published."""
    lineage: Lineage | None = None
    """What made it."""
    resolved: FineTuneJobResolved | None = None
    """What was chosen or found out."""
