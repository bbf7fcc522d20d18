"""What the hub's answers mean, shown with a small one on loopback."""

import errno
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from hearth_trainer.config import ModelConfig, SourceConfig
from hearth_trainer.errors import TrainerError
from hearth_trainer.sources import data_files, model_folder
from huggingface_hub import constants

COMMIT = "0123456789012345678901234567890123456789"
FILES = {
    "model": {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights"},
    "dataset": {"train.jsonl": '{"text": "x"}\n', "old/rows.jsonl": "", "README.md": "rows"},
}


class Hub(ThreadingHTTPServer):
    """One model and one data set, both called team/one, at the revision main; the model wants a token."""

    def __init__(self) -> None:
        self.tokens: set[tuple[str, str | None]] = set()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        kind = "dataset" if "datasets/" in self.path else "model"
        token = self.headers["authorization"]
        if "team/one" in self.path:
            self.server.tokens.add((kind, token))
        if "team/one" not in self.path or (kind == "model" and token != "Bearer secret"):
            self._say(404, b"", "RepoNotFound")
        elif "/revision/" in self.path and "/revision/main" not in self.path:
            self._say(404, b"", "RevisionNotFound")
        elif "/tree/" in self.path:
            tree = [{"type": "file", "path": p, "size": len(c), "oid": "0" * 40} for p, c in FILES[kind].items()]
            self._say(200, json.dumps(tree).encode())
        elif "/revision/" in self.path:
            self._say(200, json.dumps({"id": "team/one", "sha": COMMIT, "siblings": []}).encode())
        else:
            self._say(200, FILES[kind][self.path.partition(f"/resolve/{COMMIT}/")[2]].encode())

    do_HEAD = do_GET  # noqa: N815 - as http.server calls it

    def _say(self, status: int, body: bytes, error: str = "") -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("x-repo-commit", COMMIT)
        self.send_header("etag", '"e"')
        if error:
            self.send_header("x-error-code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    here = f"http://127.0.0.1:{made.server_port}"
    files = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "ENDPOINT", here)
    monkeypatch.setenv("HEARTH_SPACE", str(tmp_path / "space"))
    monkeypatch.setenv("HEARTH_MODEL_TOKEN", "secret")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield made
    made.shutdown()
    made.server_close()


def model(path: str, token: str | None = "HEARTH_MODEL_TOKEN") -> ModelConfig:
    return ModelConfig(path=path, source=path, token_env=token)


def rows(path: str, *include: str) -> SourceConfig:
    return SourceConfig(path=path, source=path, include=include)


def test_model_and_rows_are_fetched_each_with_its_own_token(hub: Hub) -> None:
    folder = model_folder(model("hf://team/one@main"))
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES["model"])
    assert [p.name for p in data_files(rows("hf://team/one@main"))] == ["rows.jsonl", "train.jsonl"]
    assert hub.tokens == {("model", "Bearer secret"), ("dataset", None)}


def test_only_what_the_check_needs_is_fetched(hub: Hub) -> None:
    folder = model_folder(model("hf://team/one@main"), tokenizer_only=True)
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "tokenizer.json"]
    (path,) = data_files(rows("hf://team/one", "/*.jsonl"))
    assert path.name == "train.jsonl"


@pytest.mark.parametrize(
    ("uri", "token", "told"),
    [
        ("hf://team/other@main", "HEARTH_MODEL_TOKEN", "no model team/other"),
        ("hf://team/one@main", None, "needs a token"),
        ("hf://team/one@v2", "HEARTH_MODEL_TOKEN", "no revision v2"),
        ("hf://team/one/model@main", "HEARTH_MODEL_TOKEN", "hf://team/one/model@main"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_a_model_that_the_hub_does_not_have_is_not_asked_for_again(uri: str, token: str | None, told: str) -> None:
    with pytest.raises(TrainerError, match=told) as caught:
        model_folder(model(uri, token))
    assert (caught.value.exit_code, caught.value.kind) == (66, "ModelNotFound")


@pytest.mark.parametrize("uri", ["hf://team/other", "hf://team/one@v2"])
@pytest.mark.usefixtures("hub")
def test_rows_that_the_hub_does_not_have_are_not_asked_for_again(uri: str) -> None:
    with pytest.raises(TrainerError) as caught:
        data_files(rows(uri))
    assert (caught.value.exit_code, caught.value.kind) == (65, "DataNotFound")


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 73, "DiskFull"),
        (RuntimeError("Data processing error: I/O error: No space left on device (os error 28)"), 73, "DiskFull"),
        (ConnectionResetError("gone"), 69, "HubUnreachable"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_a_full_disk_is_not_a_hub_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, kind: str
) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(TrainerError) as caught:
        model_folder(model("hf://team/one@main"))
    assert (caught.value.exit_code, caught.value.kind) == (code, kind)
