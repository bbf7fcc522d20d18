"""Cross-entropy behind the output layer, a few hundred positions at a time.

The logits of a position are as many as the vocabulary has words: for 8192 positions and 152,000 words 4.6 GiB, and the
backward pass holds them three times. Here the gradient of a piece is worked out right after its loss, while its logits
are there, so that nothing is projected twice and no more than one piece's logits are ever held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

PIECE = 256
"""Positions projected at once; the memory plan counts on it."""


class OutputLoss(torch.autograd.Function):  # type: ignore[misc]
    """The sum over all positions, differentiable once, by the hidden states.

    The layer itself must be frozen. With LoRA it is: TRL 1.16 refuses an adapter on it.
    """

    @staticmethod
    def forward(ctx: Any, layer: Any, labels: Any, hidden: Any) -> Any:
        """`hidden` is positions by width."""
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.empty_like(hidden)
        for begin in range(0, len(labels), PIECE):
            here = slice(begin, begin + PIECE)
            piece = hidden[here].detach().requires_grad_()
            with torch.enable_grad():
                logits = layer(piece).float()
                loss = torch.nn.functional.cross_entropy(logits, labels[here], reduction="sum")
            (gradient[here],) = torch.autograd.grad(loss, piece)
            total += loss.detach()
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *scale: Any) -> Any:
        """The gradient that is known already, times that of the sum."""
        (gradient,) = ctx.saved_tensors
        return None, None, gradient * scale[0].to(gradient.dtype)


def output_loss(layer: Callable[[Any], Any], hidden: Any, labels: Any) -> Any:
    """Cross-entropy of `labels` after the output layer, summed, in nats."""
    return OutputLoss.apply(layer, labels, hidden)


def measured_loss(layer: Callable[[Any], Any], hidden: Any, labels: Any) -> float:
    """The same figure, where no gradient is wanted."""
    total = 0.0
    for piece, wanted in zip(hidden.split(PIECE), labels.split(PIECE), strict=True):
        total += float(torch.nn.functional.cross_entropy(layer(piece).float(), wanted, reduction="sum"))
    return total


def output_layer(model: Any) -> Callable[[Any], Any]:
    """What makes logits of the decoder's hidden states: the projection, and what some models do to it afterwards.

    The words for that in config.json are those that TRL 1.16 knows (trainer/utils.py, add_fused_lm_head).
    """
    project, config = model.get_output_embeddings(), model.config.get_text_config()
    cap = getattr(config, "final_logit_softcapping", None)
    factors = (getattr(config, name, None) for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"))
    scale = next((factor for factor in factors if factor is not None), None)
    divisor = getattr(config, "logits_scaling", None)
    if scale is None and divisor is not None:
        scale = divisor if config.model_type == "hyperclovax" else 1 / divisor

    def logits(hidden: Any) -> Any:
        made = project(hidden)
        if scale is not None:
            made = made * scale
        return made if cap is None else torch.tanh(made / cap) * cap

    return logits
