"""A base that is another model than the one that was checked, or than the one that the checkpoints are of."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hearth.render import scripts
from hearth_trainer.base import confirm, inspected, read_seal
from hearth_trainer.config import ModelConfig
from hearth_trainer.errors import ModelError, TrainerError

ARCHITECTURE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "vocab_size": 8,
    "max_position_embeddings": 64,
}


class Pod:
    """What a training pod finds: configuration and inspection side by side, a model, a volume for checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.model, self.checkpoints = folder / "model", folder / "checkpoints"
        self.model.mkdir()
        self.checkpoints.mkdir()
        for program in files(scripts).iterdir():
            if program.name.endswith(".py"):
                (folder / program.name).write_text(program.read_text())
        (self.model / "config.json").write_text(json.dumps(ARCHITECTURE))
        self.weights(b"\1" * 64)

    def weights(self, content: bytes) -> None:
        """Puts other weights of the same shape into the same file."""
        tensor = {"dtype": "BF16", "shape": [len(content) // 2], "data_offsets": [0, len(content)]}
        header = json.dumps({"a": tensor}).encode()
        (self.model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + content)

    @property
    def checked(self) -> str | None:
        """The digest that a check finds now."""
        return inspected(ModelConfig(path=str(self.model), source="pvc://weights/llama"), self.model)

    def confirm(self, digest: str | None) -> None:
        """What a pod does that starts, where the check has found a model of this digest."""
        model = ModelConfig(path=str(self.model), source="pvc://weights/llama", digest=digest)
        confirm(model, self.model, self.checkpoints)

    def refused(self, digest: str | None) -> ModelError:
        with pytest.raises(ModelError) as caught:
            self.confirm(digest)
        return caught.value


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pod:
    monkeypatch.setenv("HEARTH_CONFIG", str(tmp_path / "train.json"))
    return Pod(tmp_path)


def test_the_model_that_was_checked_is_trained_and_goes_on_being_trained(pod: Pod) -> None:
    digest = pod.checked
    pod.confirm(digest)
    pod.confirm(digest)
    assert read_seal(pod.checkpoints) is not None


def test_another_model_than_the_one_that_was_checked_is_refused(pod: Pod) -> None:
    digest = pod.checked
    pod.weights(b"\1" * 128)
    error = pod.refused(digest)
    assert (error.kind, error.exit_code) == ("ModelChanged", 66)
    assert "pvc://weights/llama are others than those that were checked" in error.message
    assert "create a new FineTuneJob" in error.suggestion
    assert read_seal(pod.checkpoints) is None, "nothing was made from it"


def test_checkpoints_are_not_taken_up_beside_other_weights_whatever_their_digest_is(pod: Pod) -> None:
    pod.confirm(pod.checked)
    pod.weights(b"\1" * 63 + b"\2")
    error = pod.refused(pod.checked)
    assert (error.kind, error.exit_code) == ("ModelChanged", 66)
    assert "made from another model" in error.message
    assert "under another name" in error.suggestion


def test_a_readme_is_no_part_of_a_model(pod: Pod) -> None:
    digest = pod.checked
    pod.confirm(digest)
    (pod.model / "README.md").write_text("Some more words.")
    pod.confirm(digest)


def test_a_model_that_the_inspection_cannot_read_is_told_in_its_words(pod: Pod) -> None:
    digest = pod.checked
    (pod.model / "model.safetensors").unlink()
    error = pod.refused(digest)
    assert error.kind == "ModelUnreadable"
    assert "holds no .safetensors weights" in error.message


def test_without_the_inspection_checkpoints_are_sealed_all_the_same(pod: Pod, tmp_path: Path) -> None:
    (tmp_path / "inspect_model.py").unlink()
    pod.confirm("sha256:" + "1" * 64)
    pod.weights(b"\2" * 64)
    assert "made from another model" in pod.refused("sha256:" + "1" * 64).message


class Refusing(BaseHTTPRequestHandler):
    """A hub that says no, and remembers what it was asked."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    code = 404

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers["Authorization"]))
        self.send_error(self.code)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's parameter
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Refusing]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    Refusing.asked.clear()
    yield Refusing
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("code", "kind", "exit_code"), [(404, "ModelNotFound", 66), (503, "HubUnreachable", 69)])
def test_the_hub_is_asked_about_the_commit_that_was_fetched(
    pod: Pod, hub: type[Refusing], code: int, kind: str, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "code", code)
    monkeypatch.setenv("HEARTH_MODEL_TOKEN", "the model's")
    model = ModelConfig(path="hf://team/model@main", source="hf://team/model@main", token_env="HEARTH_MODEL_TOKEN")
    snapshot = pod.model.rename(pod.model.parent / "c0ffee")
    with pytest.raises(TrainerError) as caught:
        confirm(model, snapshot, pod.checkpoints)
    assert (caught.value.kind, caught.value.exit_code) == (kind, exit_code)
    assert hub.asked == [("/api/models/team/model/revision/c0ffee?blobs=true", "Bearer the model's")]
