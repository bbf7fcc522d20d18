"""Brings rows and models within reach: mounted folders, the Hugging Face hub, plain HTTPS."""

from __future__ import annotations

from pathlib import Path

from hearth_trainer.config import ModelConfig, SourceConfig, secret
from hearth_trainer.download import download
from hearth_trainer.errors import BadDataError, ModelError
from hearth_trainer.globs import chosen, hub_patterns
from hearth_trainer.hub import snapshot
from hearth_trainer.space import space

ROWS = ("*.jsonl", "*.json", "*.ndjson")
"""What is taken where `include` names nothing."""
TOKENIZER_FILES = ["tokenizer*", "*.jinja", "config.json", "special_tokens_map.json"]


def data_files(source: SourceConfig) -> list[Path]:
    """The files of a source, sorted by path.

    Raises BadDataError where there is none, UnavailableError where a server cannot be reached, DiskFullError where a
    download finds no room.
    """
    if source.path.startswith("https://"):
        return [download(source, space())]
    root = Path(source.path)
    if source.path.startswith("hf://"):
        patterns = hub_patterns(source.include or ROWS)
        root = snapshot(source.path, "dataset", patterns, secret(source.token_env), space())
    if root.is_file():
        return [root]
    if not root.is_dir():
        there = ", ".join(sorted(p.name for p in root.parent.iterdir())[:8]) if root.parent.is_dir() else "nothing"
        raise BadDataError(
            "DataNotFound",
            f"{source.source}: {root.name} does not exist; there is: {there or 'nothing'}",
            "correct the key or path in spec.dataset",
        )
    found = sorted(p for p in root.rglob("*") if p.is_file() and _wanted(p.relative_to(root), source))
    if not found:
        raise BadDataError(
            "DataNotFound",
            f"{source.source} holds no {', '.join(source.include or ROWS)} file that include and exclude let through",
            "point spec.dataset at JSON Lines files",
        )
    return found


def _wanted(path: Path, source: SourceConfig) -> bool:
    # A mounted ConfigMap keeps its real files in a hidden folder beside the links that carry their names.
    if any(part.startswith(".") for part in path.parts):
        return False
    return chosen(path.as_posix(), source.include or ROWS, source.exclude)


def model_folder(model: ModelConfig, *, tokenizer_only: bool = False) -> Path:
    """The folder of a model, fetched from the hub where the path says so.

    Raises ModelError where there is none, UnavailableError where the hub cannot be reached, DiskFullError where the
    model finds no room.
    """
    if model.path.startswith("hf://"):
        patterns = TOKENIZER_FILES if tokenizer_only else None
        return snapshot(model.path, "model", patterns, secret(model.token_env), space())
    folder = Path(model.path)
    if not (folder / "config.json").is_file():
        raise ModelError("ModelNotFound", f"{model.path} holds no config.json", "correct the path in spec.model")
    return folder
