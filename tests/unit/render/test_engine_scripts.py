"""The programs that run beside an engine: the first real answer, draining, verifying an artifact."""

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hearth.render.scripts import drain, probe_completion, verify_manifest


class Engine:
    """An engine that answers what the test wants."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, str]] = {}
        self.asked: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                outer.asked.append((self.path, body))
                status, text = outer.answers.get(self.path, (503, "loading"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's parameter
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = str(self.server.server_port)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


COMPLETION = json.dumps({"choices": [{"text": "!"}], "usage": {"completion_tokens": 1}})
EMBEDDING = json.dumps({"data": [{"embedding": [0.1, 0.2]}]})


def test_the_probe_succeeds_only_after_a_real_completion(engine: Engine) -> None:
    ask = ["Generate", "court", engine.port]
    assert probe_completion.main(ask) == 1
    engine.answers["/v1/completions"] = (200, json.dumps({"choices": [], "usage": {}}))
    assert probe_completion.main(ask) == 1
    engine.answers["/v1/completions"] = (200, COMPLETION)
    assert probe_completion.main(ask) == 0
    assert engine.asked[-1][1]["model"] == "court"
    assert engine.asked[-1][1]["max_tokens"] == 1


def test_the_probe_of_an_embedder_wants_a_vector(engine: Engine) -> None:
    engine.answers["/v1/embeddings"] = (200, json.dumps({"data": []}))
    assert probe_completion.main(["Embed", "minilm", engine.port]) == 1
    engine.answers["/v1/embeddings"] = (200, EMBEDDING)
    assert probe_completion.main(["Embed", "minilm", engine.port]) == 0


def test_the_probe_of_an_engine_that_is_not_up_fails_quietly() -> None:
    assert probe_completion.main(["Generate", "court", "1"]) == 1


def metrics(running: float, waiting: float) -> str:
    return (
        "# TYPE vllm:num_requests_running gauge\n"
        f'vllm:num_requests_running{{engine="0",model_name="court"}} {running}\n'
        f'vllm:num_requests_waiting{{engine="0",model_name="court"}} {waiting}\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 9.0\n'
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "POLL_SECONDS", 0.02)


@pytest.mark.usefixtures("quick")
def test_draining_waits_for_running_and_waiting_requests(engine: Engine) -> None:
    engine.answers["/metrics"] = (200, metrics(1.0, 2.0))
    assert drain.in_flight(int(engine.port)) == 3.0
    finished = threading.Timer(0.3, lambda: engine.answers.update({"/metrics": (200, metrics(0.0, 0.0))}))
    finished.start()
    begun = time.monotonic()
    assert drain.main(["0.05", "10", engine.port]) == 0
    assert 0.3 <= time.monotonic() - begun < 5


@pytest.mark.usefixtures("quick")
def test_draining_ends_at_its_deadline(engine: Engine) -> None:
    engine.answers["/metrics"] = (200, metrics(1.0, 0.0))
    begun = time.monotonic()
    assert drain.main(["0", "0.3", engine.port]) == 0
    assert 0.3 <= time.monotonic() - begun < 5


@pytest.mark.usefixtures("quick")
def test_draining_does_not_wait_for_an_engine_that_is_gone() -> None:
    begun = time.monotonic()
    assert drain.main(["0", "60", "1"]) == 0
    assert time.monotonic() - begun < 5


def write_artifact(folder: Path) -> str:
    folder.mkdir()
    entries = []
    for name, content in (("config.json", b"{}"), ("model.safetensors", b"weights")):
        (folder / name).write_bytes(content)
        entries.append({"path": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    canonical = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
    (folder / "manifest.json").write_text(
        json.dumps({"version": 1, "kind": "Merged", "digest": digest, "files": entries})
    )
    return digest


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("HEARTH_TERMINATION_LOG", str(path))
    return path


@pytest.mark.usefixtures("log")
def test_an_artifact_as_it_was_written_is_accepted(tmp_path: Path) -> None:
    digest = write_artifact(tmp_path / "a")
    assert verify_manifest.main([str(tmp_path / "a"), digest]) == 0


def rewrite_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = manifest["files"][:1]
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "code", "said"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"WEIGHTS"), 65, "model.safetensors has sha256"),
        (lambda f: (f / "config.json").unlink(), 65, "listed in the manifest but missing"),
        (rewrite_manifest, 65, "is pinned"),
        (lambda f: (f / "manifest.json").write_text("{"), 65, "JSONDecodeError"),
        (lambda f: (f / "manifest.json").unlink(), 66, "the artifact was removed"),
    ],
)
def test_an_artifact_that_was_changed_is_refused(
    tmp_path: Path, log: Path, damage: Callable[[Path], Any], code: int, said: str
) -> None:
    digest = write_artifact(tmp_path / "a")
    damage(tmp_path / "a")
    assert verify_manifest.main([str(tmp_path / "a"), digest]) == code
    assert said in json.loads(log.read_text())["error"]["message"]
