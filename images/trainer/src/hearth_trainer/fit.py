"""LoRA with TRL's SFTTrainer: the part that takes hours."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset as HubDataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig

from hearth_trainer import checkpoints
from hearth_trainer.callbacks import Watch
from hearth_trainer.config import AdapterConfig, Config, TrainingConfig
from hearth_trainer.cpu_trainer import CpuTrainer
from hearth_trainer.errors import BadConfigError, ModelError
from hearth_trainer.packing import require_rows_apart
from hearth_trainer.processor import has_bfloat16
from hearth_trainer.progress import Reporter
from hearth_trainer.row_order import OrderedTrainer
from hearth_trainer.rows import Row
from hearth_trainer.stopping import StopRequest

log = logging.getLogger(__name__)

SCHEDULES = {"Cosine": "cosine", "Linear": "linear", "Constant": "constant_with_warmup"}
DTYPES = {"BF16": torch.bfloat16, "FP32": torch.float32}


@dataclass(frozen=True)
class Fitted:
    """How training ended."""

    steps: int
    total_steps: int
    loss: float | None
    """Mean over the last ten steps."""
    tokens_per_second: float | None
    """None where this process only found a finished checkpoint."""
    checkpoint: Path

    @property
    def finished(self) -> bool:
        """Whether every step was made."""
        return self.steps >= self.total_steps


def load_model(folder: Path, dtype: Any) -> Any:
    """The base model.

    Raises ModelError where the files are no causal language model that transformers can load.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("ModelUnreadable", f"{folder} cannot be loaded: {error}"[:800]) from error


def with_weights_in(model: Any, dtype: Any) -> Any:
    """The same model with its weights in another type.

    Not `model.to(dtype)`, which rounds what is worked out at start too: rotary frequencies in bfloat16 are off by up to
    0.4 %, which is radians after some hundred positions. transformers loads them in float32 whatever the weights are.
    """
    for weights in model.parameters():
        weights.data = weights.data.to(dtype)
    return model


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer, with a padding token (the end of sequence, where it has none)."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def as_hub_dataset(rows: Iterable[Row], conversational: bool) -> HubDataset:
    """Rows as TRL takes them: prompt and completion, so that only the completion is learnt; or plain text."""
    items: list[dict[str, Any]] = []
    for row in rows:
        if not row.prompt:
            items.append({"text": row.target})
        elif conversational:
            prompt = [m.as_json() for m in row.prompt]
            items.append({"prompt": prompt, "completion": [{"role": "assistant", "content": row.target}]})
        else:
            items.append({"prompt": "\n\n".join(m.content for m in row.prompt), "completion": row.target})
    return HubDataset.from_list(items)


def multiplies_in_bfloat16(training: TrainingConfig) -> bool:
    """Whether matrices are multiplied in bfloat16, whatever the weights are stored in."""
    return training.precision == "BF16" or (training.fast_arithmetic and training.device == "CPU" and has_bfloat16())


def sft_config(config: Config) -> SFTConfig:
    """The trainer's arguments. Names and traps as of TRL 1.16 and transformers 5."""
    training = config.training
    return SFTConfig(
        output_dir=config.checkpoints.path,
        max_length=training.max_sequence_length,
        packing=training.packing,
        per_device_train_batch_size=training.micro_batch_size,
        gradient_accumulation_steps=training.global_batch_size // training.micro_batch_size,
        num_train_epochs=training.epochs,
        max_steps=training.max_steps or -1,
        learning_rate=training.learning_rate,
        lr_scheduler_type=SCHEDULES[training.learning_rate_schedule],
        warmup_steps=training.warmup_ratio,
        bf16=multiplies_in_bfloat16(training),
        gradient_checkpointing=training.gradient_checkpointing,
        use_cpu=training.device == "CPU",
        seed=training.seed,
        data_seed=training.seed,
        logging_steps=1,
        # Otherwise a loss of NaN is logged as 0 and training goes on with a broken model.
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=config.checkpoints.interval_steps,
        # Pruning is ours: only complete checkpoints count.
        save_total_limit=None,
        report_to="none",
        disable_tqdm=True,
    )


def lora_config(adapter: AdapterConfig) -> LoraConfig:
    """The adapter's shape."""
    modules: Any = list(adapter.target_modules)
    return LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=modules[0] if modules == ["all-linear"] else modules,
        task_type="CAUSAL_LM",
    )


def build_trainer(config: Config, folder: Path, rows: Iterable[Row], watch: Watch) -> OrderedTrainer:
    """The trainer, ready to start.

    Raises BadConfigError where the adapter does not fit the model, or rows that share a sequence would see each other.
    """
    tokenizer = load_tokenizer(folder)
    kind = CpuTrainer if config.training.device == "CPU" else OrderedTrainer
    try:
        trainer = kind(
            model=load_model(folder, DTYPES[config.training.precision]),
            args=sft_config(config),
            train_dataset=as_hub_dataset(rows, conversational=bool(tokenizer.chat_template)),
            processing_class=tokenizer,
            peft_config=lora_config(config.adapter),
            callbacks=[watch],
        )
    except ValueError as error:
        raise BadConfigError("TrainerRefused", f"the trainer refuses the configuration: {error}"[:800]) from error
    if config.training.packing:
        require_rows_apart(trainer)
    return trainer


def finished_checkpoint(checkpoint: Path | None) -> Fitted | None:
    """The end of training, where a checkpoint says that it was reached before this process began."""
    if checkpoint is None:
        return None
    state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    fitted = Fitted(state["global_step"], state["max_steps"], _last_loss(state), None, checkpoint)
    return fitted if fitted.finished else None


def _last_loss(state: dict[str, Any]) -> float | None:
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry][-10:]
    return sum(losses) / len(losses) if losses else None


def fit(config: Config, folder: Path, rows: Iterable[Row], stop: StopRequest, reporter: Reporter | None) -> Fitted:
    """Trains from the newest complete checkpoint to the end, or to where a stop was asked for.

    Raises InterruptedRunError after the checkpoint that a stop asks for.
    """
    os.environ["DISABLE_KUBEFLOW_INTEGRATION"] = "TRUE"
    root = Path(config.checkpoints.path)
    root.mkdir(parents=True, exist_ok=True)
    for broken in checkpoints.discard_incomplete(root):
        log.warning("%s was not complete and is removed", broken.name)
    # Before the next one is written: whoever lowers `keep` because the volume was full needs the room for it.
    checkpoints.prune(root, config.checkpoints.keep)
    resume = checkpoints.newest(root)
    if (done := finished_checkpoint(resume)) is not None:
        log.info("training was finished before, at step %d", done.steps)
        return done
    watch = Watch(root, config.checkpoints.keep, stop, reporter)
    trainer = build_trainer(config, folder, rows, watch)
    log.info("training %s", f"resumes at {resume.name}" if resume else "starts")
    with stop.deferred():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    state = trainer.state
    if state.global_step < state.max_steps:
        stop.check()
    last = checkpoints.newest(root)
    if last is None:
        raise BadConfigError("NoCheckpoint", "training ended without a checkpoint: no step was made")
    recent = watch.losses[-10:]
    loss = sum(recent) / len(recent) if recent else None
    return Fitted(state.global_step, state.max_steps, loss, watch.tokens_per_second, last)
