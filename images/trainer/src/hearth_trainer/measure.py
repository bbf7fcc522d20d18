"""Asks a model the held-out rows and scores what it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from hearth_trainer.drafts import Draft, can_draft, drafted
from hearth_trainer.greedy import write
from hearth_trainer.left_padding import left_padded
from hearth_trainer.metrics import score
from hearth_trainer.output_loss import measured_loss, output_layer
from hearth_trainer.rows import Row
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import RowTokenizer

BATCH = 32
"""Rows that are answered at once: a step for 32 rows of SmolLM2-135M takes one and a half times as long on CPU as one
for 16."""
LOSS_BATCH = 4
MOST_TOKENS = 12288
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
    room = [n.total + longest_answer(n.target) for n in lengths]
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
    """Greedy answers to the prompts of the rows, in their order, as far as they can score."""
    said = [""] * len(rows)
    for chosen in batches(rows, BATCH, texts):
        stop.check()
        encoded = left_padded(tokenizer, [texts.ids(rows[i])[0] for i in chosen], model.device)
        limit = longest_answer(max(texts.length(rows[i]).target for i in chosen))
        wanted, nothing = [texts.wanted(rows[i]) for i in chosen], [()] * len(chosen)
        new = write(model, tokenizer, encoded["input_ids"], encoded["attention_mask"], limit, wanted, nothing)
        for i, text in zip(chosen, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            said[i] = text
    return said


def losses(
    model: Any, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], stop: StopRequest
) -> tuple[float, int]:
    """Cross-entropy of the targets' tokens in nats, summed, and how many they are."""
    total, count = 0.0, 0
    for chosen in batches(rows, LOSS_BATCH, texts):
        stop.check()
        encoded = left_padded(tokenizer, [texts.ids(rows[i])[1] for i in chosen], model.device)
        # Nothing stands before the first token of a row without a prompt: no model predicts it.
        targets = [min(n.target, n.total - 1) for n in (texts.length(rows[i]) for i in chosen)]
        ids, width = encoded["input_ids"], encoded["input_ids"].shape[1]
        with torch.inference_mode():
            hidden = model.get_decoder()(**encoded, use_cache=False).last_hidden_state
            for at, length in enumerate(targets):  # they stand at the right end
                before = hidden[at, width - 1 - length : width - 1]
                total += measured_loss(output_layer(model), before, ids[at, width - length :])
        count += sum(targets)
    return total, count


def draft_of(texts: RowTokenizer, row: Row) -> Draft | None:
    """The row's prompt and target in tokens.

    None where the prompt alone is split into other tokens than before the target: its answer begins elsewhere then.
    """
    prompt, whole = texts.ids(row)
    if not prompt or len(prompt) == len(whole) or whole[: len(prompt)] != prompt:
        return None
    return Draft(prompt, whole[len(prompt) :], texts.wanted(row))


def _drafted(
    model: Any, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], stop: StopRequest
) -> tuple[dict[int, str], float, int]:
    """Answers by the row's index, and the loss as `losses` gives it, of the rows that can be drafted."""
    drafts = {i: d for i, row in enumerate(rows) if (d := draft_of(texts, row)) is not None} if can_draft(model) else {}
    said: dict[int, str] = {}
    known, total, count = list(drafts), 0.0, 0
    for batch in batches([rows[i] for i in known], BATCH, texts):
        stop.check()
        chosen = [known[at] for at in batch]
        limit = longest_answer(max(len(drafts[i].target) for i in chosen))
        told, lost = drafted(model, tokenizer, [drafts[i] for i in chosen], limit)
        said |= dict(zip(chosen, told, strict=True))
        total, count = total + lost, count + sum(len(drafts[i].target) for i in chosen)
    return said, total, count


def measure(
    model: Any,
    tokenizer: Any,
    texts: RowTokenizer,
    rows: Sequence[Row],
    metrics: Sequence[str],
    stop: StopRequest,
) -> dict[str, float]:
    """The wanted metrics of one model; rows of plain text have no prompt and are judged by their loss alone.

    Of an answer that begins with what the chat template puts before every answer, what follows is scored.
    """
    model.eval()
    figures: dict[str, float] = {}
    asked = [r for r in rows if r.prompt] if set(metrics) - {"Loss"} else []
    said, total, count = _drafted(model, tokenizer, texts, asked, stop)
    read = {id(asked[i]) for i in said}
    others = [i for i in range(len(asked)) if i not in said]
    said |= dict(zip(others, answers(model, tokenizer, texts, [asked[i] for i in others], stop), strict=True))
    if asked:
        figures = score([r.target for r in asked], [texts.wanted(r).answer(said[i]) for i, r in enumerate(asked)])
    if rows and "Loss" in metrics:
        more = losses(model, tokenizer, texts, [r for r in rows if id(r) not in read], stop)
        figures["Loss"] = (total + more[0]) / max(count + more[1], 1)
    return {name: value for name, value in figures.items() if name in metrics}
