"""Asks a model the held-out rows and scores what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from hearth_trainer.metrics import score
from hearth_trainer.output_loss import measured_loss, output_layer
from hearth_trainer.rows import Row
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import RowTokenizer

BATCH = 32
"""Rows that are answered at once: a step for 32 rows of SmolLM2-135M takes one and a half times as long on CPU as one
for 16."""
LOSS_BATCH = 4
MOST_TOKENS = 10240
"""Tokens of one batch, padding and room for answers included: the memory plan counts on it."""


def longest_answer(longest_target: int) -> int:
    """Tokens that an answer may take beside a target of so many: a third as many again, and at least 24 more.

    That is room for JSON with line breaks and indentation, an eighth more for the demo's records. Without a limit a
    base model talks on to the end of its context, and measuring takes longer than training.
    """
    return longest_target + max(24, longest_target // 3)


def batches(rows: Sequence[Row], size: int, texts: RowTokenizer) -> Iterator[list[int]]:
    """Indices of rows with targets of about the same length, so that none waits long for another's answer.

    A row whose target is longer than any answer to the first of its batch may be begins another.
    """
    lengths = [texts.length(row) for row in rows]
    room = [n.total - n.target + longest_answer(n.target) for n in lengths]
    batch: list[int] = []
    widest = 0
    for index in sorted(range(len(rows)), key=lambda i: (lengths[i].target, lengths[i].total)):
        widest = max(widest, room[index])
        full = len(batch) == size or (len(batch) + 1) * widest > MOST_TOKENS
        if batch and (full or lengths[index].target > longest_answer(lengths[batch[0]].target)):
            yield batch
            batch, widest = [], room[index]
        batch.append(index)
    if batch:
        yield batch


def answers(model: Any, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], stop: StopRequest) -> list[str]:
    """Greedy answers to the prompts of the rows, in their order."""
    said = [""] * len(rows)
    for chosen in batches(rows, BATCH, texts):
        stop.check()
        encoded = _padded(tokenizer, [texts.texts(rows[i])[0] for i in chosen], model.device)
        with torch.inference_mode():
            output = model.generate(
                **encoded,
                max_new_tokens=longest_answer(max(texts.length(rows[i]).target for i in chosen)),
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = output[:, encoded["input_ids"].shape[1] :]
        for i, text in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            said[i] = text
    return said


def loss(model: Any, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], stop: StopRequest) -> float:
    """Mean cross-entropy of the targets' tokens, in nats per token."""
    total, count = 0.0, 0
    for chosen in batches(rows, LOSS_BATCH, texts):
        stop.check()
        encoded = _padded(tokenizer, [texts.texts(rows[i])[1] for i in chosen], model.device)
        # Nothing stands before the first token of a row without a prompt: no model predicts it.
        targets = [min(n.target, n.total - 1) for n in (texts.length(rows[i]) for i in chosen)]
        ids, width = encoded["input_ids"], encoded["input_ids"].shape[1]
        with torch.inference_mode():
            hidden = model.get_decoder()(**encoded, use_cache=False).last_hidden_state
            for at, length in enumerate(targets):  # they stand at the right end
                before = hidden[at, width - 1 - length : width - 1]
                total += measured_loss(output_layer(model), before, ids[at, width - length :])
        count += sum(targets)
    return total / max(count, 1)


def _padded(tokenizer: Any, prompts: list[str], device: Any) -> Any:
    tokenizer.padding_side = "left"
    return tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(device)


def measure(
    model: Any,
    tokenizer: Any,
    texts: RowTokenizer,
    rows: Sequence[Row],
    metrics: Sequence[str],
    stop: StopRequest,
) -> dict[str, float]:
    """The wanted metrics of one model; rows of plain text have no prompt and are judged by their loss alone."""
    model.eval()
    figures: dict[str, float] = {}
    asked = [r for r in rows if r.prompt]
    if asked and set(metrics) - {"Loss"}:
        said = answers(model, tokenizer, texts, asked, stop)
        figures |= score([r.target for r in asked], said)
    if rows and "Loss" in metrics:
        figures["Loss"] = loss(model, tokenizer, texts, rows, stop)
    return {name: value for name, value in figures.items() if name in metrics}
