"""`prepare`: fetch, lint, count, and leave the outcome in the termination log. Needs no torch."""

from __future__ import annotations

import json
from typing import Any

from hearth_trainer.config import Config
from hearth_trainer.lint import Dataset, lint
from hearth_trainer.sources import data_files, model_folder
from hearth_trainer.tokens import load_row_tokenizer


def load_dataset(config: Config) -> Dataset:
    """The checked rows of the configuration.

    Raises TrainerError of the kind that fits.
    """
    folder = model_folder(config.model, tokenizer_only=True)
    tokenizer = load_row_tokenizer(folder)
    facts = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    own = int(facts.get("max_position_embeddings") or config.training.max_sequence_length)
    train = data_files(config.dataset.train)
    held_out = data_files(config.dataset.eval) if config.dataset.eval else None
    context = min(config.training.max_sequence_length, own)
    return lint(config.dataset, train, held_out, tokenizer.length, context)


def prepare(config: Config) -> dict[str, Any]:
    """The result of the prepare Job."""
    dataset = load_dataset(config)
    return {
        "format": dataset.layout,
        "digest": dataset.digest,
        "trainRows": len(dataset.train),
        "evalRows": len(dataset.held_out),
        "trainTokens": dataset.train_tokens,
        "longestRow": dataset.longest_row,
        "longestTarget": dataset.longest_target,
        "findings": dataset.findings.as_json(),
    }
