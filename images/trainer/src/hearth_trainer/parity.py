"""Whether a model still says what it said before it was merged, stored and read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hearth_trainer.errors import BadConfigError
from hearth_trainer.full_precision import in_float32
from hearth_trainer.left_padding import left_padded
from hearth_trainer.rows import Row
from hearth_trainer.tokens import RowTokenizer

PARITY_ROWS = 4


def relative_difference(before: Any, after: Any) -> float:
    """How far `after` is from `before`, as a share of the size of `before`."""
    return float((after - before).norm() / before.norm().clamp_min(1e-12))


class Parity:
    """What the base with its adapter says after a few rows, and how far others may be from that."""

    def __init__(self, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], limit: float) -> None:
        self.tokenizer, self.limit = tokenizer, limit
        # After the prompt; after the text, for rows without a prompt.
        self.prompts = [prompt or whole for prompt, whole in map(texts.ids, rows[:PARITY_ROWS])]
        self.wanted: Any = None

    def expect(self, adapted: Any) -> None:
        """Takes the model that others are compared with."""
        self.wanted = self.said_by(adapted)

    def said_by(self, model: Any) -> Any:
        """Logits after the rows, worked out in float32."""
        encoded = left_padded(self.tokenizer, self.prompts, model.device)
        model.eval()
        with in_float32(model):
            return model(**encoded, logits_to_keep=1, use_cache=False).logits

    def require(self, said: Any, doing: str) -> float:
        """How far the logits have moved by what was done.

        Raises BadConfigError where that is more than the limit.
        """
        moved = relative_difference(self.wanted, said)
        # Not `moved > limit`: a model that says no numbers at all has moved by no number.
        if not moved <= self.limit:
            raise BadConfigError(
                "MergeChangedModel",
                f"{doing} moved the logits by {moved:.4f}, more than {self.limit:g}; the checkpoint is kept",
                "serve the adapter (spec.output.merge: false), or raise spec.output.parity.maxLogitDifference",
            )
        return moved
