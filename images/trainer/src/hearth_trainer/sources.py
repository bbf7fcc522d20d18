"""Brings rows and models within reach: mounted folders, the Hugging Face hub, plain HTTPS."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from hearth_trainer.config import ModelConfig, SourceConfig, secret
from hearth_trainer.download import download
from hearth_trainer.errors import BadDataError, ModelError, UnavailableError
from hearth_trainer.globs import chosen, hub_patterns

ROWS = ("*.jsonl", "*.json", "*.ndjson")
"""What is taken where `include` names nothing."""
TOKENIZER_FILES = ["tokenizer*", "*.jinja", "config.json", "special_tokens_map.json"]
SPACE = "HEARTH_SPACE"
"""Environment variable with the folder for downloads."""


def space() -> Path:
    """Where downloads go."""
    return Path(os.environ.get(SPACE, "/tmp"))  # noqa: S108 - the pod's own emptyDir


def data_files(source: SourceConfig) -> list[Path]:
    """The files of a source, sorted by path.

    Raises BadDataError where there is none, UnavailableError where a server cannot be reached.
    """
    if source.path.startswith("https://"):
        return [download(source, space())]
    root = _from_hub(source) if source.path.startswith("hf://") else Path(source.path)
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


def _repository(uri: str) -> tuple[str, str | None]:
    name, _, revision = uri.removeprefix("hf://").partition("@")
    return name, revision or None


def _from_hub(source: SourceConfig) -> Path:
    name, revision = _repository(source.path)
    patterns = hub_patterns(source.include or ROWS)
    return _snapshot(name, revision, "dataset", patterns, secret(source.token_env))


def model_folder(model: ModelConfig, *, tokenizer_only: bool = False) -> Path:
    """The folder of a model, fetched from the hub where the path says so.

    Raises ModelError where there is none, UnavailableError where the hub cannot be reached.
    """
    if model.path.startswith("hf://"):
        name, revision = _repository(model.path)
        patterns = TOKENIZER_FILES if tokenizer_only else None
        return _snapshot(name, revision, "model", patterns, secret(model.token_env))
    folder = Path(model.path)
    if not (folder / "config.json").is_file():
        raise ModelError("ModelNotFound", f"{model.path} holds no config.json", "correct the path in spec.model")
    return folder


def _snapshot(name: str, revision: str | None, kind: str, patterns: list[str] | None, token: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        return Path(
            snapshot_download(
                name,
                revision=revision,
                repo_type=kind,
                allow_patterns=patterns,
                cache_dir=space() / "hub",
                token=token,
            )
        )
    except RepositoryNotFoundError as error:
        raise ModelError(
            "ModelNotFound",
            f"the hub has no {kind} {name}, or it needs a token",
            "correct the name, or set secretRef to a Secret with the key token",
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise UnavailableError("HubUnreachable", f"{name} could not be fetched from the hub: {error}"[:500]) from error
