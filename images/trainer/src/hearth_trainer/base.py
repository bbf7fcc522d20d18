"""Whether the base is the model that was checked, and the one that the checkpoints were made from.

A branch of the hub, a tag of a registry and the files of a volume may all mean something else by the time a pod starts
or resumes. An adapter fits the weights that it was trained beside and no others.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hearth_trainer.checkpoints import sync
from hearth_trainer.config import ModelConfig, config_path, secret
from hearth_trainer.errors import ModelError, UnavailableError
from hearth_trainer.manifest import file_digest

log = logging.getLogger(__name__)

INSPECTION = "inspect_model.py"
"""The program that read the model's facts when it was checked, which lies beside the configuration."""
SEAL = "base.json"
"""Beside the checkpoints: what they were made from."""
CONTENT = (".safetensors", ".json", ".jinja", ".model", ".txt")


def confirm(model: ModelConfig, folder: Path, checkpoints: Path) -> None:
    """Compares the base with what the checkpoints were made from; before the first, with what was checked.

    Raises ModelError where it is another one, UnavailableError where a hub has to be asked and does not answer.
    """
    own, known = digest_of(folder), read_seal(checkpoints)
    if known is None:
        _refuse_another(model, folder)
        _write_seal(own, checkpoints)
    elif known != own:
        raise ModelError(
            "ModelChanged",
            f"the checkpoints of this run were made from another model than {model.source} holds now",
            "put that model back, or create the FineTuneJob for the new one under another name",
        )


def _refuse_another(model: ModelConfig, folder: Path) -> None:
    found = inspected(model, folder)
    if found is None or model.digest is None:
        log.warning("whether %s is the model that was checked is not known", model.source)
    elif found != model.digest:
        raise ModelError(
            "ModelChanged",
            f"the files of {model.source} are others than those that were checked: their digest was "
            f"{model.digest[:19]} and is {found[:19]}",
            "create a new FineTuneJob for the new model, or put the old one back",
        )


def inspected(model: ModelConfig, folder: Path) -> str | None:
    """The digest that the inspection gives the model; None where there is no such program.

    What came from the hub is compared by the hub's own hashes, of the commit that was fetched. Raises ModelError where
    the model cannot be read, UnavailableError where the hub does not answer.
    """
    program = config_path().parent / INSPECTION
    if not program.is_file():
        return None
    source, token = str(folder), secret(model.token_env)
    if model.path.startswith("hf://"):
        # The hub's client keeps a commit's files in snapshots/<commit>.
        source = f"{model.path.partition('@')[0]}@{folder.name}"
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told"
        env = os.environ | {"HEARTH_TERMINATION_LOG": str(told)} | ({"HF_TOKEN": token} if token else {})
        subprocess.run([sys.executable, str(program), source], env=env, stdout=subprocess.DEVNULL, check=False)
        said: dict[str, Any] = json.loads(told.read_bytes()) if told.is_file() else {}
    if "facts" in said:
        return str(said["facts"]["digest"])
    error = said.get("error", {"class": "ModelUnreadable", "message": f"{INSPECTION} ended without a word on {source}"})
    failed = UnavailableError if error["class"] == "HubUnreachable" else ModelError
    raise failed(error["class"], error["message"], error.get("suggestion", ""))


def digest_of(folder: Path) -> str:
    """A digest of the names and the bytes of weights, configuration and tokenizer."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.suffix in CONTENT and not p.name.startswith(".")]
    whole = hashlib.sha256()
    for path in sorted(files):
        whole.update(f"{path.relative_to(folder)}\0{file_digest(path)}\n".encode())
    return f"sha256:{whole.hexdigest()}"


def read_seal(checkpoints: Path) -> str | None:
    """The digest of what the checkpoints in a folder were made from; None where nothing says."""
    path = checkpoints / SEAL
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"]) if path.is_file() else None


def _write_seal(digest: str, checkpoints: Path) -> None:
    draft = checkpoints / f".{SEAL}"
    draft.write_text(json.dumps({"digest": digest}), encoding="utf-8")
    sync(draft)
    draft.rename(checkpoints / SEAL)
    sync(checkpoints)
