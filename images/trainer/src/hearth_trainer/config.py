"""What the operator asks for: the JSON file at HEARTH_CONFIG, checked strictly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from hearth_trainer.errors import BadConfigError

Metric = Literal["ExactMatch", "JSONValid", "JSONFieldF1", "Loss"]


class Part(BaseModel):
    """A part of the configuration: camelCase, nothing unknown."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", frozen=True, populate_by_name=True)


class ModelConfig(Part):
    """The base model."""

    path: str
    """A folder, or hf://repository[@revision]."""
    source: str
    """The URI as written by the user, for messages and lineage."""
    digest: str | None = None
    """Identity of its files."""
    token_env: str | None = None
    """Environment variable that holds the hub's token for the model, and for nothing else."""


class SourceConfig(Part):
    """Where rows lie."""

    path: str
    """A file or folder, hf://dataset[@revision] or https://…"""
    source: str
    """The URI as written by the user."""
    token_env: str | None = None
    """Environment variable that holds the token for this source, and for no other."""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class ChecksConfig(Part):
    """What is done about doubtful rows."""

    leakage: Literal["Fail", "Warn"] = "Fail"
    empty_targets: Literal["Fail", "Warn"] = "Fail"
    max_truncated_percent: int = 5


class DatasetConfig(Part):
    """The rows."""

    train: SourceConfig
    eval: SourceConfig | None = None
    eval_fraction: float = 0.05
    """Held-out fraction of `train`; looked at only without `eval`."""
    format: Literal["Chat", "Instruction", "PromptCompletion", "Text"] | None = None
    checks: ChecksConfig = ChecksConfig()
    digest: str | None = None
    """What the rows were when they were checked; training refuses others."""


class AdapterConfig(Part):
    """LoRA."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ("all-linear",)


class TrainingConfig(Part):
    """Hyper-parameters; every one is worked out by the operator before."""

    epochs: int = 3
    max_steps: int | None = None
    learning_rate: float = 2e-4
    learning_rate_schedule: Literal["Cosine", "Linear", "Constant"] = "Cosine"
    warmup_ratio: float = 0.03
    global_batch_size: int = 16
    micro_batch_size: int = 4
    max_sequence_length: int = 2048
    packing: bool = False
    precision: Literal["BF16", "FP32"] = "FP32"
    """Type of the base weights."""
    fast_arithmetic: bool = False
    """Multiply in bfloat16 over float32 weights where the processor has instructions for it."""
    gradient_checkpointing: bool = False
    seed: int = 42
    device: Literal["CPU", "GPU"] = "CPU"


class CheckpointsConfig(Part):
    """Where training resumes."""

    path: str
    interval_steps: int = 50
    keep: int = 2


class GateConfig(Part):
    """What the tuned model must reach."""

    metric: Metric
    at_least: float | None = None
    beats: tuple[str, ...] = ()


class EvaluationConfig(Part):
    """What is measured."""

    metrics: tuple[Metric, ...] = ("Loss",)
    gate: GateConfig | None = None


class OutputConfig(Part):
    """What is published."""

    path: str
    merge: bool = True
    max_logit_difference: float = 0.02


class Config(Part):
    """The whole file."""

    model: ModelConfig
    dataset: DatasetConfig
    adapter: AdapterConfig = AdapterConfig()
    training: TrainingConfig = TrainingConfig()
    checkpoints: CheckpointsConfig
    evaluation: EvaluationConfig = EvaluationConfig()
    output: OutputConfig
    lineage: dict[str, str] = {}
    """Copied into the manifest: image, specHash and the like."""


def secret(variable: str | None) -> str | None:
    """The token in the named variable.

    Raises BadConfigError where there is none: to ask without it would look like a source that does not exist. The same
    where no header can carry it: HTTP libraries refuse such a header by quoting it, and messages end in statuses.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "").strip()
    if not value:
        raise BadConfigError("TokenMissing", f"{variable} is empty", "put the token under the key token of the Secret")
    if not (value.isascii() and value.isprintable()):
        advice = "put the token, and nothing else, under the key token of the Secret"
        raise BadConfigError("TokenUnusable", f"{variable} is not one line of printable ASCII", advice)
    return value


def config_path() -> Path:
    """Where the file is. What else the operator gives the pod lies beside it."""
    return Path(os.environ.get("HEARTH_CONFIG", "/etc/hearth/config.json"))


def load_config() -> Config:
    """The configuration.

    Raises BadConfigError where the file is missing or says something that this version does not understand.
    """
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise BadConfigError("ConfigMissing", f"{path} cannot be read: {error.strerror}") from error
    try:
        return Config.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadConfigError("ConfigInvalid", f"{path}: {where}: {first['msg']}") from error
