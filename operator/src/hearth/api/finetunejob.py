"""FineTuneJob: a model plus data becomes an evaluated, addressable artifact."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from hearth.api.base import ApiModel, Decimal, Duration, ListSet, Name, Rule
from hearth.api.crd_kind import Column, CustomKind
from hearth.api.finetunejob_status import FineTuneJobStatus
from hearth.api.shapes import Accelerator, DataSource, ModelSource, PodOverrides, Scheduling, Storage

Metric = Literal["ExactMatch", "JSONValid", "JSONFieldF1", "Loss"]
Action = Literal["Fail", "Warn"]


def between(field: str, low: str, high: str) -> Rule:
    """The rule that an optional Decimal lies in a range, bounds included."""
    return Rule(
        f"!has(self.{field}) || (double(self.{field}) >= {low} && double(self.{field}) <= {high})",
        f'{field} must lie between {low} and {high}, written as a quoted string such as "{high}"',
        field_path=f".{field}",
    )


class DatasetChecks(ApiModel):
    """What the linter does about rows that are well-formed but doubtful. It runs before any GPU is asked for."""

    leakage: Action | None = None
    """A held-out prompt that stands in the training rows too. Unset: Fail."""
    empty_targets: Action | None = None
    """A row without anything to learn. Unset: Fail. With Warn such rows are left out."""
    max_truncated_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Percentage of rows that may be longer than the context; they are left out. Above it the job fails. Unset: 5."""


class Dataset(ApiModel):
    """The rows to learn from, and the held-out rows to be measured on."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.eval) || !has(self.evalFraction)", "set at most one of eval and evalFraction"),
        between("evalFraction", "0.001", "0.5"),
    )

    train: DataSource
    """JSON Lines to learn from."""
    eval: DataSource | None = None
    """Held-out JSON Lines. Unset: a fraction of `train`, chosen by a hash of each prompt."""
    eval_fraction: Decimal | None = None
    """Fraction of `train` that is held out, for example "0.05". Unset, and no `eval`: "0.05"."""
    format: Literal["Chat", "Instruction", "PromptCompletion", "Text"] | None = None
    """Chat: `messages`. Instruction: `instruction`, `input`, `output`. PromptCompletion: `prompt`, `completion`.
    Text: `text`. Unset: detected from the first row."""
    checks: DatasetChecks | None = None
    """What is done about doubtful rows."""


class Adapter(ApiModel):
    """The low-rank matrices that are trained (LoRA, Hu et al. 2021)."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (between("dropout", "0.0", "0.9"),)

    rank: Annotated[int, Field(ge=1, le=512)] | None = None
    """Rank of the matrices. Unset: 16."""
    alpha: Annotated[int, Field(ge=1, le=2048)] | None = None
    """Scale: the update counts alpha/rank times. Unset: twice the rank."""
    dropout: Decimal | None = None
    """Dropout on the adapter's input. Unset: "0.0"."""
    target_modules: (
        Annotated[
            list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=32), ListSet()
        ]
        | None
    ) = None
    """Names of the linear layers to adapt. Unset: all-linear, every linear layer but the head."""


class Training(ApiModel):
    """How the adapter is trained."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        between("learningRate", "0.0000001", "1.0"),
        between("warmupRatio", "0.0", "0.5"),
        Rule(
            "!has(self.globalBatchSize) || !has(self.microBatchSize) || "
            "self.globalBatchSize % self.microBatchSize == 0",
            "globalBatchSize must be a multiple of microBatchSize",
        ),
    )

    epochs: Annotated[int, Field(ge=1, le=100)] | None = None
    """Passes over the rows. Unset: 3, or as many as `maxSteps` needs."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Optimizer steps; wins over `epochs`."""
    learning_rate: Decimal | None = None
    """Peak learning rate. Unset: "2e-4"."""
    learning_rate_schedule: Literal["Cosine", "Linear", "Constant"] | None = None
    """Shape after the warm-up. Unset: Cosine."""
    warmup_ratio: Decimal | None = None
    """Fraction of the steps over which the rate rises. Unset: "0.03"."""
    global_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Rows per optimizer step. Unset: 16, or the next multiple of microBatchSize."""
    micro_batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Rows per forward pass; the rest is accumulated. Unset: what the memory plan allows, on CPU at most 4."""
    max_sequence_length: Annotated[int, Field(ge=16, le=1_048_576)] | None = None
    """Longest row in tokens; longer rows are left out and counted. Unset: 2048, or the model's limit."""
    packing: bool | None = None
    """Whether several rows share one sequence. Unset: no."""
    precision: Literal["BF16", "FP32"] | None = None
    """Type of the base weights in training; adapters are always FP32. Unset: BF16 on GPUs; on
    CPU FP32, multiplied in BF16 where the processor has instructions for it."""
    gradient_checkpointing: bool | None = None
    """Whether activations are computed again instead of kept: less memory, about a fifth slower. Unset: on GPUs."""
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = None
    """Seed of the row order and of the adapter's first values. Unset: 42."""


class Checkpoints(ApiModel):
    """Where training resumes after an interruption."""

    interval_steps: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Optimizer steps between checkpoints. Unset: 50."""
    keep: Annotated[int, Field(ge=1, le=20)] | None = None
    """Complete checkpoints that are kept. Unset: 2."""
    storage: Storage | None = None
    """The volume of checkpoints and artifacts. Size unset: from the model's size."""


class Gate(ApiModel):
    """What the tuned model must reach. A job whose gate is not met fails; its artifact stays but is not served unless
    its digest is asked for."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.atLeast) || has(self.beats)", "set atLeast, beats or both"),
        Rule(
            "self.metric != 'Loss' || !has(self.atLeast)",
            "atLeast does not apply to Loss, where less is better: use beats: [base], or another metric",
        ),
        Rule("!has(self.beats) || self.beats.all(b, b == 'base')", "beats can name base only"),
        between("atLeast", "0.0", "1.0"),
    )

    metric: Metric
    """The metric to judge by; must be in `metrics`."""
    at_least: Decimal | None = None
    """Least value of the tuned model, for example "0.9"."""
    beats: Annotated[list[Name], Field(min_length=1, max_length=1), ListSet()] | None = None
    """Models that the tuned one must do better than: `base`."""


class Evaluation(ApiModel):
    """Measuring base and tuned model on the held-out rows, with greedy decoding."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!has(self.gate) || self.gate.metric in self.metrics", "gate.metric must be one of metrics"),
    )

    metrics: Annotated[list[Metric], Field(min_length=1, max_length=8), ListSet()]
    """ExactMatch: the answer equals the target. JSONValid: it parses. JSONFieldF1: F1 over its fields. The JSON metrics
    look at rows whose target is a JSON object. Loss: mean cross-entropy of the target's tokens."""
    gate: Gate | None = None
    """What the tuned model must reach. Unset: nothing."""


class Parity(ApiModel):
    """How much merging may change the model."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (between("maxLogitDifference", "0.0", "1.0"),)

    max_logit_difference: Decimal | None = None
    """Largest relative difference of the logits before and after merging. Unset: "0.02" (0.009 is BF16 rounding)."""


class Output(ApiModel):
    """What is published."""

    merge: bool | None = None
    """Whether the base with the adapter merged into it is published too: added up in float32, stored in the base's own
    type. Unset: yes."""
    parity: Parity | None = None
    """The check after merging."""
    deletion_policy: Literal["Retain", "Delete"] = "Retain"
    """What happens to the volume with the artifacts when the FineTuneJob is deleted."""


class Budget(ApiModel):
    """What the job may use."""

    deadline: Duration | None = None
    """Longest time from the first training pod that runs to the end, interruptions and suspensions included, and
    the time in a queue before it not. Unset: none."""
    retries: Annotated[int, Field(ge=0, le=20)] | None = None
    """New attempts after failures that another attempt may mend. Interruptions do not count. Unset: 3."""


class FineTuneJobSpec(ApiModel):
    """What to train, on what, and how the outcome is judged."""

    cel_rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.model.uri)", "set model.uri; a FineTuneJob cannot start from another one yet"),
        Rule(
            "!has(self.accelerator) || !has(self.accelerator.count) || self.accelerator.count <= 1",
            "accelerator.count must be 0 (CPU) or 1: training runs in one process",
        ),
    )

    model: ModelSource
    """The base model, with a tokenizer."""
    objective: Literal["SFT"] = "SFT"
    """Supervised fine-tuning."""
    dataset: Dataset
    """The rows."""
    method: Literal["LoRA"] = "LoRA"
    """Low-rank adapters on frozen weights."""
    trainer: Literal["TRL"] | None = None
    """Training library. Unset: TRL."""
    adapter: Adapter | None = None
    """The adapter's shape."""
    training: Training | None = None
    """Hyper-parameters."""
    accelerator: Accelerator | None = None
    """GPUs of the training pod. Unset: one GPU where a node that may take the pod offers one at the start, else CPU."""
    scheduling: Scheduling | None = None
    """Where and in which queue the training pod runs."""
    checkpoints: Checkpoints | None = None
    """Where training resumes."""
    evaluation: Evaluation | None = None
    """How the outcome is measured. Unset: Loss only."""
    output: Output | None = None
    """What is published."""
    budget: Budget | None = None
    """What the job may use."""
    pod_overrides: PodOverrides | None = None
    """The allow-listed part of the training pod that may be set by hand. All but requests and RuntimeClass holds for
    the pod that checks the rows too; of limits, a larger one of memory."""
    suspend: bool = False
    """Stops the pods after a checkpoint and keeps all data; training resumes where it was."""


_STARTED = "has(oldSelf.status) && has(oldSelf.status.startTime)"
_STORAGE = "{0}.spec.checkpoints.storage"
_STORED = f"has({{0}}.spec.checkpoints) && has({_STORAGE})"
_CLASS = f"({_STORED} && has({_STORAGE}.storageClassName) ? {_STORAGE}.storageClassName : '')"
_MODE = f"({_STORED} && has({_STORAGE}.accessMode) ? {_STORAGE}.accessMode : 'ReadWriteOnce')"

VOLUME_RULES = (
    Rule(
        f"!({_STARTED}) || {_CLASS.format('self')} == {_CLASS.format('oldSelf')}",
        "storageClassName is fixed once the job has started: a volume does not move; create a new FineTuneJob",
        field_path=".spec.checkpoints",
    ),
    Rule(
        f"!({_STARTED}) || {_MODE.format('self')} == {_MODE.format('oldSelf')}",
        "accessMode is fixed once the job has started; create a new FineTuneJob",
        field_path=".spec.checkpoints",
    ),
)
"""A volume does not move. Its size may be written smaller again, where it was raised and the volume cannot grow."""


def fixed(field: str, optional: bool) -> Rule:
    """The rule that a field of spec stays as it is once the job has started."""
    if optional:
        same = (
            f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && "
            f"(!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        )
    else:
        same = f"self.spec.{field} == oldSelf.spec.{field}"
    message = f"spec.{field} is fixed once the job has started; create a new FineTuneJob"
    return Rule(f"!({_STARTED}) || ({same})", message, field_path=f".spec.{field}")


FIXED_AFTER_START = {
    "model": False,
    "objective": False,
    "dataset": False,
    "method": False,
    "trainer": True,
    "adapter": True,
    "training": True,
    "evaluation": True,
}
"""Fields that define the artifact, and whether they are optional."""

KIND = CustomKind(
    kind="FineTuneJob",
    plural="finetunejobs",
    short_names=("ftj",),
    spec=FineTuneJobSpec,
    status=FineTuneJobStatus,
    description=(
        "Fine-tunes a language model on rows of text and publishes the result. The rows are checked before any GPU is "
        "asked for; training survives interruptions; base and tuned model are measured on held-out rows; the adapter "
        "and the merged model are kept on a volume with digests of every file, ready for an LLMService."
    ),
    columns=(
        Column("Step", ".status.progress.step", "integer"),
        Column("Of", ".status.progress.totalSteps", "integer"),
        Column("Loss", ".status.progress.loss", "string"),
        Column("ETA", ".status.progress.eta", "string", wide=True),
    ),
    root_rules=(*(fixed(field, optional) for field, optional in FIXED_AFTER_START.items()), *VOLUME_RULES),
)
