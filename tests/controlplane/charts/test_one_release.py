"""A second release in a namespace is refused where Helm can look at the cluster."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hearth_cluster import binaries

CHART = Path(__file__).resolve().parents[3] / "charts" / "hearth"


def deployment(**labels: str) -> dict[str, Any]:
    metadata = {"name": "some", "labels": {f"app.kubernetes.io/{key}": value for key, value in labels.items()}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata}


OPERATOR = deployment(name="hearth", component="operator", instance="hearth")
GROUP = {"groupVersion": "apps/v1", "version": "v1"}
DEPLOYMENTS = {"name": "deployments", "kind": "Deployment", "namespaced": True, "verbs": ["get", "list"]}
DISCOVERY: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "groups": [{"name": "apps", "versions": [GROUP], "preferredVersion": GROUP}]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis/apps/v1": {"kind": "APIResourceList", "groupVersion": "apps/v1", "resources": [DEPLOYMENTS]},
}


class OfDeployments(ThreadingHTTPServer):
    """As much of an API server as Helm asks to render a chart: the Deployments of the namespace `shared`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.deployments: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    server: OfDeployments

    def do_GET(self) -> None:
        listed = {"kind": "DeploymentList", "apiVersion": "apps/v1", "items": self.server.deployments}
        known = {**DISCOVERY, "/apis/apps/v1/namespaces/shared/deployments": listed}
        found = known.get(self.path.partition("?")[0])
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(found or {"kind": "Status", "code": 404}).encode())

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[OfDeployments]:
    with OfDeployments() as made:
        Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def render(helm: str, release: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.tool(helm)), "template", release, str(CHART), "--namespace", "shared"]
    given = ["--values", str(CHART / "ci" / "images-values.yaml"), "--kube-version", "1.36.3", *options]
    environment = {**os.environ, "KUBECONFIG": "/dev/null", "NO_PROXY": "127.0.0.1"}
    return subprocess.run([*command, *given], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("there", "release", "refused"),
    [
        ([], "hearth", False),
        ([OPERATOR], "hearth", False),
        ([OPERATOR], "second", True),
        ([deployment(), {"metadata": {"name": "bare"}}], "second", False),
        ([deployment(name="hearth", component="gateway", instance="other")], "second", False),
        ([deployment(name="milvus", component="operator", instance="other")], "second", False),
    ],
    ids=["empty", "upgrade", "second", "strangers", "another-part", "another-operator"],
)
@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_a_namespace_takes_one_release(
    server: OfDeployments, helm: str, there: list[dict[str, Any]], release: str, refused: bool
) -> None:
    server.deployments = there
    done = render(helm, release, "--dry-run=server", "--kube-apiserver", server.url, "--disable-openapi-validation")
    complaint = "namespace shared has another release of Hearth, hearth, and of two in a namespace only one works"
    assert (complaint in done.stderr) == refused, done.stderr
    assert "install second in a namespace of its own, or uninstall hearth first" in done.stderr or not refused


@pytest.mark.parametrize("helm", ["helm", "helm3"])
def test_a_chart_is_rendered_without_a_cluster_too(helm: str) -> None:
    assert render(helm, "second").returncode == 0
