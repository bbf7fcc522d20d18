"""`prepare`: fetch, lint, count, and leave the outcome in the termination log. Needs no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from hearth_trainer.config import Config
from hearth_trainer.lint import Summary, Take, lint
from hearth_trainer.rows import Row
from hearth_trainer.sources import data_files, model_folder
from hearth_trainer.tokens import load_row_tokenizer


@dataclass(frozen=True)
class Dataset:
    """Rows that passed."""

    summary: Summary
    train: tuple[Row, ...]
    held_out: tuple[Row, ...]


def check(config: Config, take: Take) -> Summary:
    """Checks the rows of the configuration; `take` is given each that is used.

    Raises TrainerError of the kind that fits.
    """
    folder = model_folder(config.model, tokenizer_only=True)
    tokenizer = load_row_tokenizer(folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own = int(facts.get("max_position_embeddings") or config.training.max_sequence_length)
    train = data_files(config.dataset.train)
    held_out = data_files(config.dataset.eval) if config.dataset.eval else None
    context = min(config.training.max_sequence_length, own)
    return lint(config.dataset, train, held_out, tokenizer.length, context, take)


def load_dataset(config: Config) -> Dataset:
    """The checked rows of the configuration, all of them in memory.

    Raises TrainerError of the kind that fits.
    """
    train: list[Row] = []
    held_out: list[Row] = []
    summary = check(config, lambda row, held: (held_out if held else train).append(row))
    return Dataset(summary, tuple(train), tuple(held_out))


def prepare(config: Config) -> dict[str, Any]:
    """The result of the prepare Job, which holds no rows: they may be more than its memory."""
    found = check(config, lambda _row, _held_out: None)
    return {
        "format": found.layout,
        "digest": found.digest,
        "trainRows": found.train_rows,
        "evalRows": found.eval_rows,
        "trainTokens": found.train_tokens,
        "longestRow": found.longest_row,
        "longestTarget": found.longest_target,
        "findings": found.findings.as_json(),
    }
