"""Progress over HTTP, in the message of Kubeflow Trainer."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hearth_trainer.progress import reporter_from_environment


class Server(HTTPServer):
    """Remembers what was posted."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, str, dict[str, Any]]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.posts.append((self.path, self.headers["Authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Silence."""


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()


def test_the_newest_figures_are_posted_with_the_projected_token(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", f"http://127.0.0.1:{server.server_port}/v1/progress/law/x/court")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
    reporter = reporter_from_environment()
    assert reporter is not None
    for step in (1, 2, 3):
        reporter.tell(step, 60 - step, {"step": step, "loss": "0.5"})
    reporter.close()
    path, token, body = server.posts[-1]
    assert (path, token) == ("/v1/progress/law/x/court", "Bearer secret")
    told = body["trainerStatus"]
    assert told["progressPercentage"] == 3
    assert told["estimatedRemainingSeconds"] == 57
    assert told["metrics"] == [{"name": "step", "value": "3"}, {"name": "loss", "value": "0.5"}]
    assert len(server.posts) <= 2, "messages that came too fast are dropped, not queued"


def test_an_operator_that_is_away_disturbs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_URL", "http://127.0.0.1:9/v1/progress/law/x/court")
    monkeypatch.setenv("KUBEFLOW_TRAINER_SERVER_TOKEN", str(tmp_path / "token"))
    reporter = reporter_from_environment()
    assert reporter is not None
    reporter.tell(1, None, {"step": 1})
    reporter.close()


def test_without_the_operators_variables_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBEFLOW_TRAINER_SERVER_URL", raising=False)
    assert reporter_from_environment() is None
