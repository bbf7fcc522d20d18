"""Full precision without a full-precision copy of the model.

Seven billion weights are 13 GiB in bfloat16 and 26 in float32: a pod that had room to train them would be killed at the
end of its run, when the adapter is merged. One layer at a time is enough.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from safetensors import safe_open

STORED = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def stored_dtype(folder: Path) -> Any:
    """The type that most of the base's weights are stored in, float32 where it is none that adapters are merged into.

    By the weights themselves, as the memory plan goes by them: what config.json says of them may be missing or wrong.
    """
    elements: Counter[str] = Counter()
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                tensor = weights.get_slice(name)
                elements[tensor.get_dtype()] += math.prod(tensor.get_shape())
    prevailing = max(elements, key=lambda kind: elements[kind], default="F32")
    return STORED.get(prevailing, torch.float32)


def merge_layers(model: Any) -> None:
    """Adds to each layer's weights what the adapter makes of them: in float32, rounded once to the type they have.

    PEFT's own `merge` rounds twice: the adapter's part first, then the sum.
    """
    for layer in model.modules():
        if not isinstance(layer, LoraLayer):
            continue
        weight = layer.get_base_layer().weight
        for adapter in layer.active_adapters:
            whole = weight.data.float().add_(layer.get_delta_weight(adapter).detach().float())
            weight.data = whole.to(weight.dtype)


@contextmanager
def in_float32(model: Any) -> Iterator[None]:
    """Inside, the model works in float32 whatever type its weights have, without gradients.

    A layer's weights are converted when its turn comes and put back afterwards. An embedding is looked up first.
    """
    kept: dict[Any, list[tuple[Any, Any]]] = {}

    def widen(layer: Any, positional: Any, named: Any) -> tuple[Any, Any]:
        own = [] if isinstance(layer, torch.nn.Embedding) else list(layer.parameters(recurse=False))
        kept[layer] = [(p, p.data) for p in own if p.is_floating_point() and p.dtype != torch.float32]
        for parameter, narrow in kept[layer]:
            parameter.data = narrow.float()
        return tuple(_wide(v) for v in positional), {k: _wide(v) for k, v in named.items()}

    def narrow_again(layer: Any, _positional: Any, output: Any) -> Any:
        for parameter, narrow in kept.pop(layer):
            parameter.data = narrow
        return _wide(output)

    own_weights = [layer for layer in model.modules() if any(True for _ in layer.parameters(recurse=False))]
    hooks = [layer.register_forward_pre_hook(widen, with_kwargs=True) for layer in own_weights]
    hooks += [layer.register_forward_hook(narrow_again) for layer in own_weights]
    try:
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
