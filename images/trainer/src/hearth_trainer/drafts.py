"""Reads held-out rows once for both figures: how likely their targets are, and what the model answers itself.

The target is taken for a draft of the answer, as in speculative decoding (Leviathan et al. 2023): one pass over prompt
and target says at every place what the model would have said there. Up to the first place where that is something else,
the target is the greedy answer; only from there on it has to be written, on the keys and values that are there already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from hearth_trainer.greedy import write
from hearth_trainer.metrics import Wanted

POSITIONS = 256
"""Places in targets, of all rows together, whose logits are in memory at once: the memory plan counts on it."""

ALTERING = {
    "bad_words_ids": None,
    "begin_suppress_tokens": None,
    "exponential_decay_length_penalty": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "min_length": 0,
    "min_new_tokens": None,
    "no_repeat_ngram_size": 0,
    "repetition_penalty": 1.0,
    "sequence_bias": None,
    "suppress_tokens": None,
}
"""What a model's generation_config.json may say that makes its greedy answer another than its likeliest tokens, and
what it says where it changes nothing."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A held-out row in tokens, and what its answer is compared with."""

    prompt: list[int]
    target: list[int]
    wanted: Wanted


@dataclass(frozen=True)
class Pass:
    """What one pass over some rows has found."""

    loss: float
    """Summed over the targets' tokens."""
    likeliest: list[list[int]]
    """For each row and place in its target, and for the place behind it, the token that the model would say there."""
    ids: Any
    mask: Any
    begin: int
    """Column where the targets begin."""
    cache: Any


def can_draft(model: Any) -> bool:
    """Whether this model's greedy answers are its likeliest tokens, and can be taken up in the middle of another text.

    Not where a layer keeps a window or a state instead of every key and value.
    """
    settings = getattr(model, "generation_config", None)
    if not isinstance(settings, GenerationConfig):
        return False
    plain = all(getattr(settings, name, None) in (None, neutral) for name, neutral in ALTERING.items())
    return plain and all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def drafted(model: Any, tokenizer: Any, rows: Sequence[Draft], limit: int) -> tuple[list[str], float]:
    """Greedy answers of at most `limit` tokens, as far as they can score, and the summed loss of the targets."""
    found = _read(model, rows, tokenizer.pad_token_id)
    ends = _ends(model, tokenizer)
    said = [_agreed(told, row.target, ends) for told, row in zip(found.likeliest, rows, strict=True)]
    texts: list[str] = tokenizer.batch_decode(said, skip_special_tokens=True)
    going_on = [
        at
        for at, (row, tokens, text) in enumerate(zip(rows, said, texts, strict=True))
        if tokens[-1] not in ends and not row.wanted.is_settled(text)
    ]
    if going_on:
        whole = _written(model, tokenizer, found, [(at, said[at], rows[at].wanted) for at in going_on], limit)
        for at, text in zip(going_on, tokenizer.batch_decode(whole, skip_special_tokens=True), strict=True):
            texts[at] = text
    return texts, found.loss


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    told = model.generation_config.eos_token_id
    told = tokenizer.eos_token_id if told is None else told
    return frozenset(told if isinstance(told, list) else [told])


def _read(model: Any, rows: Sequence[Draft], padding: int) -> Pass:
    """One pass: prompts end, and targets begin, in the same column."""
    begin, longest = max(len(r.prompt) for r in rows), max(len(r.target) for r in rows)
    ids = torch.full((len(rows), begin + longest), padding)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        span = slice(begin - len(row.prompt), begin + len(row.target))
        ids[at, span], mask[at, span] = torch.tensor(row.prompt + row.target), 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    places = (mask.cumsum(-1) - 1).clamp(min=0)
    cache, loss, likeliest = DynamicCache(config=model.config), 0.0, []
    columns = max(1, POSITIONS // len(rows))
    edges = [0, *range(begin, begin + longest, columns), begin + longest]
    for left, right in pairwise(edges):
        with torch.inference_mode():
            logits = model(
                input_ids=ids[:, left:right],
                attention_mask=mask[:, :right],
                position_ids=places[:, left:right],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1 if left == 0 else 0,
            ).logits.float()
        likeliest.append(logits.argmax(-1))
        first = right - logits.shape[1] + 1
        loss += _loss(logits, ids[:, first : right + 1], mask[:, first : right + 1])
    return Pass(loss, torch.cat(likeliest, dim=1).tolist(), ids, mask, begin, cache)


def _loss(logits: Any, wanted: Any, counted: Any) -> float:
    """Cross-entropy of the tokens in the next columns, where there are any."""
    seen = logits[:, : wanted.shape[1]].flatten(0, 1)
    losses = torch.nn.functional.cross_entropy(seen, wanted.flatten(), reduction="none")
    return float((losses * counted.flatten()).sum())


def _agreed(likeliest: Sequence[int], target: Sequence[int], ends: frozenset[int]) -> list[int]:
    """The answer as far as it is the target's, and the first token that is not or that ends it."""
    for at, wanted in enumerate(target):
        if likeliest[at] != wanted or wanted in ends:
            return [*target[:at], likeliest[at]]
    return [*target, likeliest[len(target)]]


def _written(
    model: Any, tokenizer: Any, found: Pass, begun: Sequence[tuple[int, list[int], Wanted]], limit: int
) -> list[list[int]]:
    """The whole answers of some rows, by their number, what they have said and what is wanted. Uses up the pass."""
    rows = torch.tensor([at for at, _, _ in begun], device=found.ids.device)
    said = [tokens for _, tokens, _ in begun]
    shortest, longest = min(len(tokens) for tokens in said), max(len(tokens) for tokens in said)
    # The last token of what was said stands in no column yet; columns that no row needs go.
    width = found.begin + longest - 1
    mask = found.mask[rows, :width]
    for at, tokens in enumerate(said):
        mask[at, found.begin + len(tokens) - 1 :] = 0
    found.cache.batch_select_indices(rows)
    found.cache.crop(width - found.ids.shape[1])
    last = torch.tensor([tokens[-1:] for tokens in said], device=found.ids.device)
    ids = torch.cat([found.ids[rows, :width], last], dim=1)
    mask = torch.cat([mask, torch.ones_like(last)], dim=1)
    wanted = [what for _, _, what in begun]
    more = write(model, tokenizer, ids, mask, limit - shortest, wanted, said, found.cache)
    return [[*tokens, *new][:limit] for tokens, new in zip(said, more, strict=True)]
