"""The order in which rows are trained on: shuffled, and within each optimizer step sorted by length.

A step's gradient is the sum over its rows, so how they are spread over the passes of that step changes nothing but the
padding: rows of about the same length share a pass. The longest come first, so that a pass that needs more memory than
there is ends the first step and not the hundredth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Sampler
from trl import SFTTrainer


class RowOrder(Sampler[int]):  # type: ignore[misc]
    """Indices of rows, the same ones in every run with the same seed, others in every epoch."""

    def __init__(self, lengths: Sequence[int], rows_per_step: int, seed: int) -> None:
        self.lengths, self.rows_per_step, self.seed = lengths, rows_per_step, seed
        self.epoch = 0

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.lengths)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch, also when it takes a run up again."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        """The rows of one epoch."""
        dice = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled: list[int] = torch.randperm(len(self.lengths), generator=dice).tolist()
        for first in range(0, len(shuffled), self.rows_per_step):
            step = shuffled[first : first + self.rows_per_step]
            yield from sorted(step, key=lambda row: -self.lengths[row])


class OrderedTrainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer, but for the order of rows."""

    def _get_train_sampler(self, train_dataset: Any = None) -> RowOrder:
        """The hook that transformers 5 has for it."""
        rows = self.train_dataset if train_dataset is None else train_dataset
        rows_per_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return RowOrder([len(tokens) for tokens in rows["input_ids"]], rows_per_step, self.args.data_seed)
