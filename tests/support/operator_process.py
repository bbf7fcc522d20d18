"""An operator as a process of its own, which tests can stop, kill and ask for its metrics."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

SCRIPT = Path(__file__).with_name("widget_operator.py")
REQUESTS = "hearth_api_requests_total"
AT_EVERY_START = (("create", "leases"), ("update", "leases"), ("apply", "secrets"), ("create", "services"))
"""Verbs and resources of the Lease, the certificate and the Service of the progress endpoint."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(check: Callable[[], object], what: str, seconds: float = 120.0) -> None:
    """Waits until `check` is truthy; a failure says what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if check():
            return
        time.sleep(0.2)
    raise AssertionError(f"within {seconds:.0f} s: {what}")


def _total(metrics: str, name: str, **labels: str) -> float:
    total = 0.0
    for line in metrics.splitlines():
        found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
        if found and all(f'{k}="{v}"' in (found.group(1) or "") for k, v in labels.items()):
            total += float(found.group(2))
    return total


class OperatorProcess:
    """One replica."""

    def __init__(self, command: Sequence[str], port: int, log: Path) -> None:
        self.port, self.log = port, log
        env = os.environ | {"PYTHONPATH": ""}
        with log.open("ab") as sink:
            self._process = subprocess.Popen(command, stdout=sink, stderr=sink, env=env)

    @property
    def pid(self) -> int:
        return self._process.pid

    def is_leader(self) -> bool:
        return self.metric("hearth_leader") == 1

    def is_ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def ask(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of a metric that carry the labels."""
        return _total(self.ask("/metrics")[1], name, **labels)

    def requests(self, **labels: str) -> float:
        """How many requests were sent that carry the labels verb, resource or code."""
        return self.metric(REQUESTS, **labels)

    def writes(self) -> float:
        """Requests that could change something, but for what every start does: Lease, certificate, progress Service."""
        told = self.ask("/metrics")[1]  # once: the Lease is renewed between two looks
        total = sum(_total(told, REQUESTS, verb=verb) for verb in ("apply", "create", "update", "patch", "delete"))
        return total - sum(_total(told, REQUESTS, verb=verb, resource=resource) for verb, resource in AT_EVERY_START)

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self._process.kill()
        self._process.wait(10)

    def end(self) -> None:
        """Whatever state it is in."""
        if self._process.poll() is None:
            self.kill()

    def exit_status(self, seconds: float) -> int:
        """Waits for the process to end by itself."""
        return self._process.wait(seconds)

    def log_text(self) -> str:
        return self.log.read_text()


def widget_operator(kubeconfig: Path, identity: str, namespace: str, log: Path, lease: str) -> OperatorProcess:
    """An operator that serves Widgets of one namespace, and holds its Lease there; `lease` is long or short."""
    port = free_port()
    command = [sys.executable, str(SCRIPT), str(kubeconfig), str(port), identity, namespace, str(free_port()), lease]
    return OperatorProcess(command, port, log)


def hearth_run(kubeconfig: Path, settings: Path, log: Path, *arguments: str) -> OperatorProcess:
    """The real `hearth run`."""
    port = free_port()
    hearth = str(Path(sys.executable).with_name("hearth"))
    command = [hearth, "run", "--kubeconfig", str(kubeconfig), "--settings", str(settings), "--probe-port", str(port)]
    return OperatorProcess([*command, *arguments], port, log)
