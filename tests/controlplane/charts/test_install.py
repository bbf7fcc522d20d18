"""Install, upgrade and uninstall with Helm 4 against a real API server; fake nodes run the pods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hearth.api.kinds import KINDS
from hearth_cluster import ephemeral
from hearth_cluster.cluster import Cluster
from hearth_cluster.fakenodes import parse_groups
from helm import CHARTS, NAMESPACE, Helm

IMAGES = CHARTS / "hearth" / "ci" / "images-values.yaml"
SERVICE: dict[str, Any] = {
    "apiVersion": "hearth.dev/v1alpha1",
    "kind": "LLMService",
    "metadata": {"name": "kept", "namespace": "default"},
    "spec": {"model": {"uri": "pvc://models/smollm2"}},
}
CLAIM: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "kept-artifacts", "namespace": "default"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


@pytest.fixture(scope="module")
def helm() -> Iterator[Helm]:
    """A cluster without Hearth, whose fake nodes make pods ready."""
    with ephemeral.control_plane() as cluster:
        cluster.fake_nodes(parse_groups("nodes: [{count: 2}]"))
        yield Helm(cluster, IMAGES)


@pytest.fixture(scope="module")
def installed(helm: Helm) -> Helm:
    """Both charts, as the README says, in a namespace that admits only restricted pods."""
    helm.cluster.kubectl("create", "namespace", NAMESPACE)
    helm.cluster.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    helm.install("hearth-crds")
    notes = helm.install("hearth")
    assert "kubectl get hearth --all-namespaces" in notes
    assert "are not in this cluster yet" not in notes
    return helm


def pods(cluster: Cluster) -> dict[str, Any]:
    found = cluster.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/name=hearth")["items"]
    return {pod["metadata"]["name"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}


def test_two_restricted_operator_pods_become_ready_on_two_nodes(installed: Helm) -> None:
    running = pods(installed.cluster).values()
    assert len(running) == 2
    assert len({pod["spec"]["nodeName"] for pod in running}) == 2


def test_installing_again_changes_nothing(installed: Helm) -> None:
    before = set(pods(installed.cluster))
    installed.install("hearth-crds")
    installed.install("hearth")
    assert set(pods(installed.cluster)) == before


def test_an_upgrade_with_other_settings_rolls_the_pods(installed: Helm) -> None:
    before = set(pods(installed.cluster))
    installed.install("hearth", "--set", "clusterDomain=corp.example")
    assert not before & set(pods(installed.cluster))
    settings = installed.cluster.get("configmap", "hearth-settings", "-n", NAMESPACE)["data"]["settings.yaml"]
    assert "cluster_domain: corp.example" in settings


def test_a_second_release_in_the_namespace_is_refused(installed: Helm) -> None:
    before = set(pods(installed.cluster))
    with pytest.raises(AssertionError, match=f"namespace {NAMESPACE} has another release of Hearth, hearth"):
        installed("install", "second", str(CHARTS / "hearth"), "--values", str(installed.values))
    assert set(pods(installed.cluster)) == before


def hearth_plan(cluster: Cluster, *options: str) -> subprocess.CompletedProcess[str]:
    """`hearth plan` for a service, as a person with the cluster's kubeconfig calls it."""
    hearth = str(Path(sys.executable).with_name("hearth"))
    command = [hearth, "plan", "-f", "-", "-o", "json", "--kubeconfig", str(cluster.kubeconfig), *options]
    environment = {k: v for k, v in os.environ.items() if k != "HEARTH_SETTINGS"}
    asked = json.dumps(SERVICE)
    return subprocess.run(
        command, input=asked, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def test_a_plan_is_made_with_the_settings_of_the_installed_operator(installed: Helm, tmp_path: Path) -> None:
    done = hearth_plan(installed.cluster)
    assert done.returncode == 0, done.stderr
    (told,) = json.loads(done.stdout)
    assert told["status"]["url"] == "http://kept.default.svc.corp.example:8000/v1"
    assert installed.cluster.get("llmservices", "-n", "default")["items"] == []

    other = tmp_path / "settings.yaml"
    found = installed.cluster.get("configmap", "hearth-settings", "-n", NAMESPACE)["data"]["settings.yaml"]
    other.write_text(found.replace("corp.example", "mine.example"))
    (told,) = json.loads(hearth_plan(installed.cluster, "--settings", str(other)).stdout)
    assert told["status"]["url"] == "http://kept.default.svc.mine.example:8000/v1"


def test_a_plan_without_an_installed_operator_says_what_is_missing(installed: Helm) -> None:
    done = hearth_plan(installed.cluster, "--operator-namespace", "default")
    assert done.returncode == 1
    assert done.stderr.startswith("hearth: found no ConfigMap of an installed operator in namespace default")
    assert "pass --settings FILE" in done.stderr


def test_an_editor_of_a_namespace_may_edit_hearths_resources_in_it(installed: Helm) -> None:
    as_editor = ("--as=eve", "--as-group=editors", "-n", "default")
    installed.cluster.kubectl(
        "create", "rolebinding", "editors", "--clusterrole=edit", "--group=editors", "-n", "default"
    )
    for kind in KINDS:
        assert installed.cluster.kubectl("auth", "can-i", "create", kind.plural, *as_editor).strip() == "yes"
    scale = installed.cluster.kubectl("auth", "can-i", "update", "llmservices", "--subresource=scale", *as_editor)
    assert scale.strip() == "yes"


def test_uninstalling_keeps_definitions_resources_and_volumes(installed: Helm) -> None:
    cluster = installed.cluster
    cluster.kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [SERVICE, CLAIM]})
    )
    made = cluster.get("llmservice", "kept", "-n", "default")["metadata"]["uid"]
    installed.uninstall("hearth")
    installed.uninstall("hearth-crds")
    assert pods(cluster) == {}
    assert cluster.get("llmservice", "kept", "-n", "default")["metadata"]["uid"] == made
    assert (
        cluster.get("persistentvolumeclaim", "kept-artifacts", "-n", "default")["metadata"]["name"] == "kept-artifacts"
    )
    for kind in KINDS:
        assert cluster.get("customresourcedefinition", kind.crd_name)["metadata"]["name"] == kind.crd_name
    leftovers = cluster.kubectl(
        "get", "clusterrole,clusterrolebinding", "-l", "app.kubernetes.io/part-of=hearth", "-o", "name"
    )
    assert leftovers == ""


def test_installing_after_an_uninstall_takes_the_kept_definitions_over(installed: Helm) -> None:
    installed.install("hearth-crds")
    installed.install("hearth")
    assert installed.cluster.get("llmservice", "kept", "-n", "default")["metadata"]["name"] == "kept"
    assert len(pods(installed.cluster)) == 2
