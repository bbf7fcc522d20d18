"""TRL's SFTTrainer with a loss that suits a CPU.

Without Triton, TRL 1.16 sends every position through the output layer, those of the prompt too, forward and backward.
For a small model with a large vocabulary that is most of the work, and with the loss on the completion alone nearly all
of it is thrown away. Here only positions that have a label are projected, and never all at once. The loss is the same
number.
"""

from __future__ import annotations

from typing import Any

from hearth_trainer.output_loss import output_layer, output_loss
from hearth_trainer.row_order import OrderedTrainer


def completion_loss(model: Any, inputs: dict[str, Any], items: Any) -> Any:
    """Cross-entropy of the labelled positions, summed and divided by `items` (their number, where it is None)."""
    labels = inputs["labels"][:, 1:]
    seen = {key: value for key, value in inputs.items() if key != "labels"}
    hidden = model.get_decoder()(**seen, use_cache=False).last_hidden_state[:, :-1]
    wanted = labels != -100
    total = output_loss(output_layer(model), hidden[wanted], labels[wanted])
    return total / (wanted.sum() if items is None else items)


class CpuTrainer(OrderedTrainer):
    """OrderedTrainer, but for the loss."""

    tokens_seen = 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss of one micro batch; `return_outputs` is never asked for while training."""
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        # Packed rows have no padding, and no mask by which attention would take them for one row.
        mask = inputs.get("attention_mask")
        self.tokens_seen += inputs["input_ids"].numel() if mask is None else int(mask.sum())
        self._metrics["train"]["num_tokens"] = [self.tokens_seen]
        whole = self.accelerator.unwrap_model(model)
        base = whole.get_base_model() if hasattr(whole, "get_base_model") else whole
        return completion_loss(base, inputs, num_items_in_batch)
