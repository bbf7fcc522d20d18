"""What `hearth run` makes of where it runs, and how it ends when it cannot begin."""

import errno
import os
import socket
from collections.abc import Coroutine
from pathlib import Path

import pytest
from hearth.cli import run
from hearth.cli.app import app
from hearth.cli.run import default_probe_host
from typer.testing import CliRunner, Result

SETTINGS = "images: {trainer: t:1, indexer: i:1, gateway: g:1, vllm: v:1, vllm_cpu: c:1, milvus: m:1, milvus_lite: l:1}"
CONFIG = """
current-context: x
clusters: [{name: c, cluster: {server: "http://127.0.0.1:9"}}]
contexts: [{name: x, context: {cluster: c}}]
"""


def start(folder: Path, *arguments: str) -> Result:
    (folder / "settings").write_text(SETTINGS)
    (folder / "config").write_text(CONFIG)
    files = ["--settings", str(folder / "settings"), "--kubeconfig", str(folder / "config")]
    return CliRunner().invoke(app, ["run", *files, *arguments])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)),
            "[Errno 98] Address already in use; is another operator running on this machine?",
        ),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "[Errno 13] Permission denied"),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "the host of the Kubernetes API, or of --probe-host, cannot be looked up: Name or service not known",
        ),
    ],
    ids=["a port that is taken", "a port that is not for everybody", "a server without an address"],
)
def test_only_a_port_that_is_taken_is_another_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def ended(serving: Coroutine[None, None, None]) -> None:
        serving.close()
        raise error

    monkeypatch.setattr(run.uvloop, "run", ended)
    monkeypatch.setattr(run, "set_up", lambda level, as_json: None)
    monkeypatch.setattr(run.gc, "freeze", lambda: None)
    monkeypatch.setattr(run.gc, "set_threshold", lambda threshold: None)
    done = start(tmp_path)
    assert done.exit_code == 1
    assert done.stderr == f"hearth: {told}\n"


@pytest.mark.parametrize("option", ["--log-level", "--log-format"])
def test_a_log_of_another_kind_is_refused_with_those_there_are(tmp_path: Path, option: str) -> None:
    done = start(tmp_path, option, "loud")
    assert done.exit_code == 2
    assert "is not one of" in done.stderr


@pytest.mark.parametrize(
    ("pod_ip", "host"),
    [
        (None, "127.0.0.1"),
        ("", "127.0.0.1"),
        ("10.244.0.7", "0.0.0.0"),
        ("fd00:10:244::7", "::"),
    ],
)
def test_probes_are_answered_under_the_address_of_the_pod_and_outside_pods_on_loopback(
    pod_ip: str | None, host: str
) -> None:
    assert default_probe_host(pod_ip) == host
