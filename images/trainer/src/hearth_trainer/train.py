"""`train`: fit, measure base and tuned model, judge, merge, publish. An interrupted run is taken up again."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import resource
from pathlib import Path
from typing import Any

import torch

from hearth_trainer import base, export
from hearth_trainer.allocator import give_back_what_is_freed
from hearth_trainer.config import Config
from hearth_trainer.errors import BadDataError
from hearth_trainer.failures import recognise
from hearth_trainer.fit import Fitted, fit, load_model, load_tokenizer, multiplies_in_bfloat16
from hearth_trainer.full_precision import stored_dtype
from hearth_trainer.gate import judge
from hearth_trainer.manifest import Artifact
from hearth_trainer.measure import measure
from hearth_trainer.parity import Parity
from hearth_trainer.prepare import Dataset, load_dataset
from hearth_trainer.progress import reporter_from_environment
from hearth_trainer.sources import model_folder
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import load_row_tokenizer

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "trl", "peft")


def train(config: Config, stop: StopRequest) -> dict[str, Any]:
    """The result of the train Job.

    Raises TrainerError of the kind that fits; nothing is published then.
    """
    volume = Path(config.checkpoints.path)
    volume.mkdir(parents=True, exist_ok=True)
    give_back_what_is_freed()
    reporter = reporter_from_environment()
    try:
        dataset = checked_dataset(config)
        folder = model_folder(config.model)
        base.confirm(config.model, folder, volume)
        fitted = fit(config, folder, dataset.train, stop, reporter)
        stop.check()
        return finish(config, folder, dataset, fitted, stop)
    except Exception as error:
        outcome = recognise(error, volume)
        if outcome is None:
            raise
        raise outcome from error
    finally:
        if reporter is not None:
            reporter.close()


def checked_dataset(config: Config) -> Dataset:
    """The rows that were checked before.

    Raises BadDataError where they are others now.
    """
    dataset = load_dataset(config)
    if config.dataset.digest is not None and dataset.summary.digest != config.dataset.digest:
        raise BadDataError(
            "DataChanged",
            f"the rows of {config.dataset.train.source} have changed since they were checked",
            "create a new FineTuneJob for the new rows",
        )
    return dataset


def lineage_of(config: Config, dataset: Dataset) -> dict[str, Any]:
    """What made the artifacts."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {**config.lineage, "dataset": dataset.summary.digest, "seed": config.training.seed, "libraries": versions}


def finish(config: Config, folder: Path, dataset: Dataset, fitted: Fitted, stop: StopRequest) -> dict[str, Any]:
    """Measures, judges and publishes.

    Both models are held in the type that they are stored in, or in float32 on a processor that is slow with that: the
    memory plan counts on it.
    """
    gc.collect()  # the trainer and its optimizer are cycles: without this both models would be in memory at once
    tokenizer, texts = load_tokenizer(folder), load_row_tokenizer(folder)
    on_gpu = config.training.device == "GPU"
    stored = stored_dtype(folder)
    held = stored if on_gpu or multiplies_in_bfloat16(config.training) else torch.float32
    model = load_model(folder, held).to("cuda" if on_gpu else "cpu")
    wanted = (dataset.held_out, config.evaluation.metrics, stop)
    scores = {"base": measure(model, tokenizer, texts, *wanted)}
    log.info("base: %s", scores["base"])
    lineage, moved = lineage_of(config, dataset), None
    parity = Parity(tokenizer, texts, dataset.held_out or dataset.train, config.output.max_logit_difference)
    if config.output.merge:
        tuned = export.merged(model, fitted.checkpoint, parity)
    else:
        tuned = export.adapted(model, fitted.checkpoint)
    scores["tuned"] = measure(tuned, tokenizer, texts, *wanted)
    log.info("tuned: %s", scores["tuned"])
    with stop.deferred():
        published = []
        if config.output.merge:
            whole, moved = export.publish_merged(config, tuned, tokenizer, stored, parity, lineage)
            published.append(whole)
        published.insert(0, export.publish_adapter(config, fitted.checkpoint, tokenizer, lineage))
    return result_of(config, fitted, scores, published, moved, lineage)


def result_of(
    config: Config,
    fitted: Fitted,
    scores: dict[str, dict[str, float]],
    published: list[Artifact],
    moved: float | None,
    lineage: dict[str, Any],
) -> dict[str, Any]:
    """The figures that go into the termination log."""
    volume = Path(config.output.path).parent
    result: dict[str, Any] = {
        "step": fitted.steps,
        "totalSteps": fitted.total_steps,
        "evaluation": [
            {"subject": subject, "metric": metric, "value": f"{value:.4f}"}
            for subject, figures in scores.items()
            for metric, value in figures.items()
        ],
        "artifacts": [
            {"kind": a.kind, "path": str(a.path.relative_to(volume)), "digest": a.digest, "size": a.size}
            for a in published
        ],
        "libraries": lineage["libraries"],
        "peakMemory": peak_memory(config),
    }
    if fitted.loss is not None:
        result["loss"] = f"{fitted.loss:.4f}"
    if fitted.tokens_per_second is not None:
        result["tokensPerSecond"] = f"{fitted.tokens_per_second:.1f}"
    if moved is not None:
        result["logitDifference"] = f"{moved:.6f}"
    if config.evaluation.gate is not None:
        passed, reason = judge(config.evaluation.gate, scores)
        result["gate"] = {"passed": passed, "reason": reason}
    return result


def peak_memory(config: Config) -> int:
    """Most memory used at once in bytes: of the GPU, or of this process on CPU."""
    if config.training.device == "GPU":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
