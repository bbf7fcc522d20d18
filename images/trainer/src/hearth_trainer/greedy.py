"""Greedy answers by transformers' `generate`, given up where nothing that follows could score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from hearth_trainer.metrics import Wanted


class Settled(StoppingCriteria):  # type: ignore[misc]
    """Ends the rows whose answer can score nothing any more: base models talk on to the limit, about something else."""

    def __init__(self, tokenizer: Any, wanted: Sequence[Wanted], begun: Sequence[Sequence[int]], width: int) -> None:
        self.tokenizer, self.wanted, self.begun, self.width = tokenizer, wanted, begun, width

    def __call__(self, input_ids: Any, _scores: Any, **_: Any) -> Any:
        """Which rows are to end."""
        said = [[*b, *new] for b, new in zip(self.begun, input_ids[:, self.width :].tolist(), strict=True)]
        texts = self.tokenizer.batch_decode(said, skip_special_tokens=True)
        ended = [wanted.is_settled(text) for wanted, text in zip(self.wanted, texts, strict=True)]
        return torch.tensor(ended, device=input_ids.device)


def write(
    model: Any,
    tokenizer: Any,
    ids: Any,
    mask: Any,
    limit: int,
    wanted: Sequence[Wanted],
    begun: Sequence[Sequence[int]],
    cache: Any = None,
) -> list[list[int]]:
    """The tokens that follow each row of `ids`, at most `limit`, with padding behind an answer that ends before others.

    `begun`: the tokens at the end of each row that are part of its answer already. `cache`: keys and values of all but
    the last column.
    """
    width = ids.shape[1]
    with torch.inference_mode():
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=limit,
            do_sample=False,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=tokenizer.pad_token_id,
            stopping_criteria=StoppingCriteriaList([Settled(tokenizer, wanted, begun, width)]),
            **({} if cache is None else {"past_key_values": cache}),
        )
    found: list[list[int]] = output[:, width:].tolist()
    return found
