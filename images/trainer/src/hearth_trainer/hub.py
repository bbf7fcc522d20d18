"""Fetches repositories of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from hearth_trainer.errors import BadDataError, ModelError, TrainerError, UnavailableError
from hearth_trainer.space import room_for

Kind = Literal["model", "dataset"]


def snapshot(uri: str, kind: Kind, patterns: Sequence[str] | None, token: str | None, space: Path) -> Path:
    """The folder with the files of `hf://repository[@revision]` that a pattern lets through; without patterns all.

    Raises ModelError or BadDataError where the hub has no such thing, UnavailableError where it does not answer,
    DiskFullError where there is no room.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

    name, _, revision = uri.removeprefix("hf://").partition("@")
    wanted = None if patterns is None else list(patterns)
    try:
        with room_for(uri, space):
            return Path(
                snapshot_download(
                    name,
                    revision=revision or None,
                    repo_type=kind,
                    allow_patterns=wanted,
                    cache_dir=space / "hub",
                    token=token,
                )
            )
    except RepositoryNotFoundError as error:
        advice = "correct the name, or set secretRef to a Secret with the key token"
        raise _missing(kind, f"the hub has no {kind} {name}, or it needs a token", advice) from error
    except RevisionNotFoundError as error:
        raise _missing(kind, f"{name} has no revision {revision}", "correct what follows @ in the uri") from error
    except HFValidationError as error:
        raise _missing(kind, f"{uri}: {error}"[:500], "write hf://owner/name@revision") from error
    except (HTTPError, OSError) as error:
        raise UnavailableError("HubUnreachable", f"{name} could not be fetched from the hub: {error}"[:500]) from error


def _missing(kind: Kind, message: str, advice: str) -> TrainerError:
    if kind == "model":
        return ModelError("ModelNotFound", message, advice)
    return BadDataError("DataNotFound", message, advice)
