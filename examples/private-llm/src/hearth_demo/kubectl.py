"""The cluster as the demo needs it: apply, read, wait, reach a Service."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth_cluster.processes import without_proxies

from hearth_demo.steps import StepError


@dataclass(frozen=True)
class Kubectl:
    """Runs kubectl against one cluster and namespace."""

    binary: Path
    kubeconfig: Path
    namespace: str

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Standard output of one kubectl call.

        Raises StepError with kubectl's own words where it fails.
        """
        done = subprocess.run(
            [str(self.binary), "--namespace", self.namespace, *args],
            env={**without_proxies(), "KUBECONFIG": str(self.kubeconfig)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StepError(f"kubectl {' '.join(args[:4])}: {done.stderr.strip()}")
        return done.stdout

    def apply(self, manifest: str | Path) -> None:
        """Server-side apply of a file, or of a manifest given as text."""
        if isinstance(manifest, Path):
            self.run("apply", "--server-side", "--force-conflicts", "-f", str(manifest))
        else:
            self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=manifest)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """The object as JSON, or an empty dict where there is none."""
        out = self.run("get", kind, name, "--ignore-not-found", "-o", "json")
        found: dict[str, Any] = json.loads(out) if out.strip() else {}
        return found

    def apply_config_map(self, name: str, files: Sequence[Path]) -> None:
        """A ConfigMap with one key per file."""
        arguments = [f"--from-file={path.name}={path}" for path in files]
        self.apply(self.run("create", "configmap", name, *arguments, "--dry-run=client", "-o", "yaml"))

    @contextmanager
    def forward(self, service: str, port: int) -> Iterator[str]:
        """A base URL on loopback that reaches the Service's port, for as long as the context lasts."""
        process = subprocess.Popen(
            [str(self.binary), "--namespace", self.namespace, "port-forward", f"service/{service}", f":{port}"],
            env={**without_proxies(), "KUBECONFIG": str(self.kubeconfig)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield f"http://127.0.0.1:{_forwarded_port(process)}"
        finally:
            process.terminate()
            process.wait()


def _forwarded_port(process: subprocess.Popen[str]) -> int:
    line = process.stdout.readline() if process.stdout else ""
    match = re.search(r"127\.0\.0\.1:(\d+)", line)
    if match is None:
        raise StepError(f"kubectl port-forward did not start: {line.strip()}")
    return int(match.group(1))


def condition(obj: Mapping[str, Any], kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; Unknown where it is not there yet.

    A condition about an older generation counts as Unknown: it says nothing about what was just applied.
    """
    for found in obj.get("status", {}).get("conditions", []):
        if found["type"] == kind and found.get("observedGeneration") == obj["metadata"]["generation"]:
            return found["status"], found["reason"], found.get("message", "")
    return "Unknown", "NotReported", ""
