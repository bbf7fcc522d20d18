"""Rows of different lengths as one batch that ends in the same column: what follows each stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def left_padded(tokenizer: Any, rows: Sequence[Sequence[int]], device: Any) -> Any:
    """Ids and attention mask of rows that are tokens already."""
    tokenizer.padding_side = "left"
    ids = {"input_ids": [list(row) for row in rows]}
    return tokenizer.pad(ids, return_tensors="pt", return_attention_mask=True).to(device)
