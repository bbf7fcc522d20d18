"""Merges the adapter into the base, checks that nothing changed, and writes the artifacts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel

from hearth_trainer.config import Config
from hearth_trainer.errors import BadConfigError
from hearth_trainer.fit import load_model, with_weights_in
from hearth_trainer.full_precision import merge_layers
from hearth_trainer.manifest import Artifact, publish
from hearth_trainer.parity import Parity, relative_difference

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
SAVED_LIMIT = 1e-3
"""How far the written model's logits may be from those of the same weights in memory: the order of additions may differ
with the memory's layout, nothing else."""


def merged(base: Any, checkpoint: Path, parity: Parity) -> Any:
    """The base with the adapter merged into it, a layer at a time: one model is in memory, in the type it came in.

    `base` must not be quantized: merging into quantized weights loses a fifth of the signal. Raises BadConfigError
    where merging moves the logits too far.
    """
    beside = adapted(base, checkpoint)
    parity.expect(beside)
    merge_layers(beside)
    whole = beside.unload()
    parity.require(parity.said_by(whole), "merging")
    return whole


def adapted(base: Any, checkpoint: Path) -> Any:
    """The base with the adapter beside it."""
    return PeftModel.from_pretrained(base, str(checkpoint))


def _draft(root: Path, kind: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    draft = root / f".draft-{kind.lower()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def _base(config: Config) -> dict[str, Any]:
    return {"source": config.model.source, "digest": config.model.digest}


def publish_adapter(config: Config, checkpoint: Path, tokenizer: Any, lineage: dict[str, Any]) -> Artifact:
    """The adapter's two files and the tokenizer."""
    root = Path(config.output.path)
    draft = _draft(root, "Adapter")
    for name in ADAPTER_FILES:
        shutil.copyfile(checkpoint / name, draft / name)
    tokenizer.save_pretrained(draft)
    return publish(draft, root, "Adapter", _base(config), lineage)


def publish_merged(
    config: Config, model: Any, tokenizer: Any, stored: Any, parity: Parity, lineage: dict[str, Any]
) -> tuple[Artifact, float]:
    """The whole model and the tokenizer, and how far its logits are from those of the base with the adapter.

    `stored` is the type that the base is stored in. What was written is read again before it is published; `model`
    holds nothing afterwards. Raises BadConfigError where the written model says something else.
    """
    root = Path(config.output.path)
    draft = _draft(root, "Merged")
    try:
        with_weights_in(model, stored).save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        moved = _read_again(draft, model, parity)
    except BadConfigError:
        shutil.rmtree(draft)
        raise
    return publish(draft, root, "Merged", _base(config), lineage), moved


def _read_again(draft: Path, model: Any, parity: Parity) -> float:
    """How far the written model is from the base with the adapter; `model` has the same weights, still in memory."""
    device, dtype, in_memory = model.device, model.dtype, parity.said_by(model)
    model.to("meta")  # frees its weights: two whole models would be more than the memory plan counts on
    written = parity.said_by(load_model(draft, dtype).to(device))
    differs = relative_difference(in_memory, written)
    if not differs <= SAVED_LIMIT:
        raise BadConfigError(
            "WrittenModelDiffers",
            f"the logits of the written model differ by {differs:.4f} from those of the merged one: not published",
            "serve the adapter (spec.output.merge: false)",
        )
    return parity.require(written, "merging and storing")
