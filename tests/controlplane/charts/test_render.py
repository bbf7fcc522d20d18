"""What the charts render to, with Helm 4 and Helm 3 alike.

`HEARTH_UPDATE_GOLDEN=1` writes the golden files anew; review the difference as text.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.api.crd_generate import custom_resource_definition
from hearth.api.kinds import KINDS
from hearth.plan.settings import Settings
from hearth_cluster import binaries

ROOT = Path(__file__).resolve().parents[3]
CHARTS = ROOT / "charts"
GOLDEN = Path(__file__).parent / "golden"
IMAGES = CHARTS / "hearth" / "ci" / "images-values.yaml"

SCENARIOS: dict[str, dict[str, Any]] = {
    "default": {},
    "everything": {
        "replicas": 3,
        "watchNamespaces": ["team-a", "team-b"],
        "imagePullSecrets": [{"name": "pull"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "podLabels": {"team": "platform"},
        "podAnnotations": {"note": "x"},
        "serviceAccount": {"annotations": {"note": "x"}},
        "networkPolicy": {"apiServerPorts": [6443], "metricsFrom": [{"podSelector": {"matchLabels": {"app": "prom"}}}]},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "least": {
        "replicas": 1,
        "aggregateRoles": False,
        "networkPolicy": {"enabled": False},
    },
}

WHERE = ("--namespace", "hearth-system", "--kube-version", "1.36.3")

every_helm = pytest.mark.parametrize("helm", ["helm", "helm3"])


def run_helm(helm: str, *arguments: str, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(binaries.tool(helm)), *arguments, "--values", str(IMAGES), "--values", "-"]
    environment = {**os.environ, "KUBECONFIG": "/dev/null"}
    return subprocess.run(
        command, env=environment, input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False
    )


def rendered(helm: str, values: dict[str, Any], release: str = "hearth") -> str:
    done = run_helm(helm, "template", release, str(CHARTS / "hearth"), *WHERE, values=values)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(text: str) -> list[dict[str, Any]]:
    return [obj for obj in yaml.safe_load_all(text) if obj]


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    return next(obj for obj in found if obj["kind"] == kind and obj["metadata"]["name"] == name)


class Readable(yaml.SafeDumper):
    """Writes a text of several lines as a block, so that a difference in it can be reviewed."""


def _block(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Readable.add_representer(str, _block)


def by_name(obj: dict[str, Any]) -> tuple[str, str, str]:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


@every_helm
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_chart_renders_to_the_golden_file(helm: str, scenario: str) -> None:
    golden = GOLDEN / f"{scenario}.yaml"
    found = sorted(objects(rendered(helm, SCENARIOS[scenario])), key=by_name)
    text = yaml.dump_all(found, Dumper=Readable, sort_keys=True, width=120)
    if os.environ.get("HEARTH_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


@every_helm
@pytest.mark.parametrize("chart", ["hearth", "hearth-crds"])
def test_the_chart_lints_without_a_warning(helm: str, chart: str) -> None:
    values = [] if chart == "hearth-crds" else ["--values", str(IMAGES)]
    command = [str(binaries.tool(helm)), "lint", "--strict", str(CHARTS / chart), *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@every_helm
def test_the_chart_of_definitions_renders_what_the_models_give_and_keeps_it(helm: str) -> None:
    command = [str(binaries.tool(helm)), "template", "hearth-crds", str(CHARTS / "hearth-crds"), *WHERE]
    found = objects(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for kind in KINDS:
        crd = named(found, "CustomResourceDefinition", kind.crd_name)
        assert crd["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert crd == custom_resource_definition(kind)
    assert len(found) == len(KINDS)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"images": {"operator": None}}, "operator"),
        ({"replica": 2}, "replica"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": 9}, "replicas"),
        ({"images": {"operater": "x"}}, "operater"),
        ({"watchNamespaces": ["Team_A"]}, "watchNamespaces"),
        ({"resources": {"requests": {"memory": "128MB"}}}, "memory"),
        ({"networkPolicy": {"apiServerPorts": []}}, "apiServerPorts"),
    ],
    ids=lambda value: str(value)[:50],
)
@every_helm
def test_a_wrong_value_is_refused_by_name(helm: str, values: dict[str, Any], complaint: str) -> None:
    done = run_helm(helm, "template", "hearth", str(CHARTS / "hearth"), *WHERE, values=values)
    assert done.returncode != 0
    assert complaint in done.stderr


@every_helm
def test_a_release_may_be_called_by_a_number_and_ask_for_a_part_of_a_core(helm: str) -> None:
    asked = {"requests": {"cpu": 0.1, "memory": "0.1Pi"}}
    found = objects(rendered(helm, {"resources": asked}, "123"))
    labels = [obj["metadata"]["labels"]["app.kubernetes.io/instance"] for obj in found]
    assert set(labels) == {"123"}
    (container,) = named(found, "Deployment", "123-hearth")["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == asked["requests"]


def test_the_settings_are_those_that_the_operator_reads() -> None:
    found = objects(rendered("helm", {"clusterDomain": "corp.example"}))
    text = named(found, "ConfigMap", "hearth-settings")["data"]["settings.yaml"]
    settings = Settings.model_validate(yaml.safe_load(text))
    images = yaml.safe_load(IMAGES.read_text())["images"]
    assert settings.images.trainer == images["trainer"]
    assert settings.images.vllm_cpu == images["vllmCpu"]
    assert settings.images.milvus_lite == images["milvusLite"]
    assert settings.namespace == "hearth-system"
    assert settings.cluster_domain == "corp.example"
    assert settings.progress_url == "https://hearth-progress.hearth-system.svc:8443"


def test_a_change_of_the_settings_rolls_the_pods() -> None:
    def stamp(values: dict[str, Any]) -> str:
        template = named(objects(rendered("helm", values)), "Deployment", "hearth")["spec"]["template"]
        return str(template["metadata"]["annotations"]["hearth.dev/settings-hash"])

    assert stamp({}) == stamp({"replicas": 3})
    assert stamp({}) != stamp({"images": {"trainer": "other:1"}})


def test_the_operator_pods_are_restricted() -> None:
    # Pod Security Standards, profile "restricted".
    pod = named(objects(rendered("helm", {})), "Deployment", "hearth")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
    assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} == {"configMap", "emptyDir"}


def test_with_watched_namespaces_rights_on_their_objects_are_bound_there_only() -> None:
    found = objects(rendered("helm", {"watchNamespaces": ["team-a", "team-b"]}))
    watched = "hearth-system-hearth-watched"
    bound = [obj for obj in found if obj.get("roleRef", {}).get("name") == watched]
    assert {(obj["kind"], obj["metadata"].get("namespace")) for obj in bound} == {
        ("RoleBinding", "team-a"),
        ("RoleBinding", "team-b"),
    }
    env = named(found, "Deployment", "hearth")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "HEARTH_WATCH_NAMESPACES", "value": "team-a,team-b"} in env


def test_two_releases_share_no_object() -> None:
    first = {by_name(obj) for obj in objects(rendered("helm", {}, "hearth"))}
    second = {by_name(obj) for obj in objects(rendered("helm", {}, "second"))}
    assert first & second == set()


def test_one_replica_has_no_disruption_budget() -> None:
    # minAvailable 1 of 1 would block every node drain.
    kinds = {obj["kind"] for obj in objects(rendered("helm", {"replicas": 1}))}
    assert "PodDisruptionBudget" not in kinds
