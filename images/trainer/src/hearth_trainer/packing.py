"""Whether rows that share a sequence are kept apart.

TRL says where each row begins by positions that start at 0 again, and every model is to make of that what it can:
attention does by its mask, while states and convolutions need kernels that know of it, and some models take no notice.
"""

from __future__ import annotations

from typing import Any

import torch

from hearth_trainer.errors import BadConfigError

LIMIT = 0.01
"""How far what a row is read as may move with the row before it. Where rows are kept apart it moves not at all, but for
the order of additions."""
TOKENS = 16
"""Of each of the rows that it is tried with."""


def require_rows_apart(trainer: Any) -> None:
    """Reads one row behind each of two others.

    Raises BadConfigError where the model reads it differently, or says that it cannot keep rows apart.
    """
    tokens = list(dict.fromkeys(trainer.train_dataset[0]["input_ids"]))[:TOKENS]
    try:
        one, other = (_read_behind(trainer, before, tokens) for before in (tokens, tokens[::-1]))
    except ValueError as error:
        raise _refused(str(error)) from error
    if float((one - other).norm()) > LIMIT * float(one.norm()):
        raise _refused("what it makes of a row depends on the row before it")


def _read_behind(trainer: Any, before: list[int], row: list[int]) -> Any:
    """The hidden states of a row, in one sequence behind another."""
    both = before + row
    batch = trainer.data_collator([{"input_ids": both, "labels": both, "seq_lengths": [len(before), len(row)]}])
    model = trainer.model
    device, base = model.device, model.get_base_model()
    seen = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items() if k != "labels"}
    training = model.training
    model.eval()  # dropout would read the row differently each time, and draw from the dice of the run
    with torch.no_grad():
        hidden = base.get_decoder()(**seen, use_cache=False).last_hidden_state
    model.train(training)
    return hidden[0, len(before) :].float()


def _refused(why: str) -> BadConfigError:
    return BadConfigError(
        "PackingRefused",
        f"the model cannot keep rows apart that share a sequence (spec.training.packing): {why}"[:800],
        "create the FineTuneJob without spec.training.packing",
    )
