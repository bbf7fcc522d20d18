"""What the trainer is told: the files prepare.json and train.json. images/trainer reads them strictly."""

from __future__ import annotations

from hearth.api.base import Json, decimal
from hearth.api.finetunejob import FineTuneJobSpec, Training
from hearth.api.finetunejob_status import ResolvedTraining
from hearth.api.shapes import DataSource
from hearth.render.sources import Mount, at_commit
from hearth.render.training_job import DATA_PATH, source_mounts, token_variables

DEFAULT_METRICS = ("Loss",)


def prepare_config(spec: FineTuneJobSpec, max_sequence_length: int) -> Json:
    """The configuration of the check; the rows' digest is not known yet."""
    return {
        **_sources(spec, None, None),
        "training": {"maxSequenceLength": max_sequence_length},
        "checkpoints": {"path": "/tmp/checkpoints"},  # noqa: S108 - not written by the check
        "output": {"path": "/tmp/artifacts"},  # noqa: S108 - not written by the check
    }


def train_config(
    spec: FineTuneJobSpec,
    training: ResolvedTraining,
    *,
    device: str,
    model_digest: str,
    data_digest: str,
    run: str,
    lineage: dict[str, str],
    revision: str | None = None,
) -> Json:
    """The configuration of training. `run` names the folder of its checkpoints: another run, other checkpoints.

    `revision` is the commit of a hub's repository that was read: it is trained, wherever its branch has moved since.
    """
    checkpoints = spec.checkpoints
    return {
        **_sources(spec, model_digest, data_digest, revision),
        "adapter": _adapter(spec, training),
        "training": _training(spec, training, device),
        "checkpoints": {
            "path": f"{DATA_PATH}/checkpoints/{run}",
            "intervalSteps": (checkpoints.interval_steps if checkpoints else None) or 50,
            "keep": (checkpoints.keep if checkpoints else None) or 2,
        },
        "evaluation": _evaluation(spec),
        "output": _output(spec),
        "lineage": lineage,
    }


def _sources(
    spec: FineTuneJobSpec, model_digest: str | None, data_digest: str | None, revision: str | None = None
) -> Json:
    mounts, tokens = source_mounts(spec), token_variables(spec)
    dataset: Json = {"train": _source(spec.dataset.train, mounts["train"], tokens.get("train"))}
    if spec.dataset.eval is not None:
        dataset["eval"] = _source(spec.dataset.eval, mounts["eval"], tokens.get("eval"))
    if spec.dataset.eval_fraction is not None:
        dataset["evalFraction"] = decimal(spec.dataset.eval_fraction)
    if spec.dataset.format is not None:
        dataset["format"] = spec.dataset.format
    if spec.dataset.checks is not None:
        dataset["checks"] = spec.dataset.checks.model_dump(by_alias=True, exclude_none=True)
    if data_digest is not None:
        dataset["digest"] = data_digest
    model: Json = {"path": at_commit(mounts["model"].path, revision), "source": spec.model.uri}
    model |= {"digest": model_digest} if model_digest else {}
    model |= {"tokenEnv": tokens["model"]} if "model" in tokens else {}
    return {"model": model, "dataset": dataset}


def _source(source: DataSource, mounted: Mount, token: str | None) -> Json:
    wanted = source.model_dump(by_alias=True, exclude_none=True, include={"include", "exclude"})
    told = {"path": mounted.path, "source": source.uri, **wanted}
    return told | ({"tokenEnv": token} if token else {})


def _adapter(spec: FineTuneJobSpec, training: ResolvedTraining) -> Json:
    adapter: Json = {"rank": training.rank, "alpha": training.alpha}
    if spec.adapter is not None and spec.adapter.dropout is not None:
        adapter["dropout"] = decimal(spec.adapter.dropout)
    if spec.adapter is not None and spec.adapter.target_modules:
        adapter["targetModules"] = list(spec.adapter.target_modules)
    return adapter


def _training(spec: FineTuneJobSpec, training: ResolvedTraining, device: str) -> Json:
    written = spec.training or Training()
    told: Json = {
        "epochs": written.epochs or 3,
        "learningRate": decimal(training.learning_rate),
        "learningRateSchedule": written.learning_rate_schedule or "Cosine",
        "warmupRatio": decimal(written.warmup_ratio or "0.03"),
        "globalBatchSize": training.global_batch_size,
        "microBatchSize": training.micro_batch_size,
        "maxSequenceLength": training.max_sequence_length,
        "packing": bool(written.packing),
        "precision": training.precision,
        "fastArithmetic": written.precision is None,
        "gradientCheckpointing": training.gradient_checkpointing,
        "seed": training.seed,
        "device": device,
    }
    return told | ({"maxSteps": written.max_steps} if written.max_steps is not None else {})


def _evaluation(spec: FineTuneJobSpec) -> Json:
    if spec.evaluation is None:
        return {"metrics": list(DEFAULT_METRICS)}
    told: Json = {"metrics": list(spec.evaluation.metrics)}
    gate = spec.evaluation.gate
    if gate is not None:
        told["gate"] = {"metric": gate.metric, "beats": list(gate.beats or [])}
        if gate.at_least is not None:
            told["gate"]["atLeast"] = decimal(gate.at_least)
    return told


def _output(spec: FineTuneJobSpec) -> Json:
    output = spec.output
    told: Json = {
        "path": f"{DATA_PATH}/artifacts",
        "merge": True if output is None or output.merge is None else output.merge,
    }
    if output is not None and output.parity is not None and output.parity.max_logit_difference is not None:
        told["maxLogitDifference"] = decimal(output.parity.max_logit_difference)
    return told
