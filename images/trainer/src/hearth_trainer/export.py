"""Merges the adapter into the full-precision base, checks that nothing changed, and writes the artifacts."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from hearth_trainer.config import Config
from hearth_trainer.errors import BadConfigError
from hearth_trainer.manifest import Artifact, publish
from hearth_trainer.rows import Row
from hearth_trainer.tokens import RowTokenizer

PARITY_ROWS = 4
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def last_logits(model: Any, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row]) -> Any:
    """Logits after the prompts of a few rows (after the text, for rows without a prompt), in float32."""
    tokenizer.padding_side = "left"
    prompts = [texts.texts(r)[0] or texts.texts(r)[1] for r in rows[:PARITY_ROWS]]
    encoded = tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False).to(model.device)
    model.eval()
    with torch.inference_mode():
        return model(**encoded, logits_to_keep=1, use_cache=False).logits.float()


def relative_difference(before: Any, after: Any) -> float:
    """How far `after` is from `before`, as a share of the size of `before`."""
    return float((after - before).norm() / before.norm().clamp_min(1e-12))


def merged(
    base: Any, checkpoint: Path, tokenizer: Any, texts: RowTokenizer, rows: Sequence[Row], limit: float
) -> tuple[Any, float]:
    """The base with the adapter merged into it, and how much its logits moved by merging.

    `base` must hold full-precision weights: merging into quantized ones loses a fifth of the signal. Raises
    BadConfigError where the difference is above `limit`.
    """
    adapted = PeftModel.from_pretrained(base, str(checkpoint))
    before = last_logits(adapted, tokenizer, texts, rows)
    whole = adapted.merge_and_unload(safe_merge=True)
    moved = relative_difference(before, last_logits(whole, tokenizer, texts, rows))
    if moved > limit:
        raise BadConfigError(
            "MergeChangedModel",
            f"merging moved the logits by {moved:.4f}, more than {limit:g}; the checkpoint is kept",
            "serve the adapter (spec.output.merge: false), or raise spec.output.parity.maxLogitDifference",
        )
    return whole, moved


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


def publish_merged(config: Config, model: Any, tokenizer: Any, dtype: Any, lineage: dict[str, Any]) -> Artifact:
    """The whole model in the type that the base is stored in, and the tokenizer."""
    root = Path(config.output.path)
    draft = _draft(root, "Merged")
    model.to(dtype).save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    return publish(draft, root, "Merged", _base(config), lineage)
