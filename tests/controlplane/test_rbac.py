"""The operator's own account suffices, and it may nothing more than it uses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hearth.kube.rbac import RIGHTS
from hearth_cluster import binaries
from hearth_cluster.cluster import Cluster
from recording_proxy import Recording, Use, recording, token_kubeconfig

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "hearth"
SYSTEM = "hearth-system"
PATIENCE = 60.0

FACTS = {
    "architecture": "LlamaForCausalLM",
    "modelType": "llama",
    "parameters": 134_515_008,
    "weightBytes": 269_030_016,
    "dtype": "bfloat16",
    "hiddenSize": 576,
    "layers": 30,
    "attentionHeads": 9,
    "keyValueHeads": 3,
    "headDim": 64,
    "intermediateSize": 1536,
    "vocabularySize": 49152,
    "maxPositionEmbeddings": 8192,
    "chatTemplate": True,
    "digest": "sha256:" + "a" * 64,
}


def chart_objects(*kinds: str) -> list[dict[str, Any]]:
    """Objects of the rendered chart, of these kinds."""
    command = [str(binaries.tool("helm")), "template", "hearth", str(CHART), "--namespace", SYSTEM]
    values = ["--values", str(CHART / "ci" / "images-values.yaml"), "--kube-version", "1.36.3"]
    text = subprocess.run([*command, *values], capture_output=True, text=True, check=True).stdout
    return [obj for obj in yaml.safe_load_all(text) if obj and obj["kind"] in kinds]


async def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := await asyncio.to_thread(condition)):
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s for {what}"
        await asyncio.sleep(0.3)
    return answer


@pytest.fixture
async def operator(control_plane: Cluster, cpu_nodes: list[str], tmp_path: Path) -> AsyncIterator[Recording]:
    """`hearth run` as the chart's ServiceAccount, with the chart's roles, behind a proxy that records."""
    control_plane.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
    control_plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service")
    control_plane.apply(*chart_objects(*rights))
    settings = chart_objects("ConfigMap")[0]["data"]["settings.yaml"]
    (tmp_path / "settings.yaml").write_text(settings)
    token = control_plane.kubectl("create", "token", "hearth", "-n", SYSTEM, "--duration=1h").strip()
    async with recording(control_plane.kubeconfig) as record:
        kubeconfig = token_kubeconfig(record.url, token, tmp_path / "kubeconfig")
        arguments = ["--settings", str(tmp_path / "settings.yaml"), "--kubeconfig", str(kubeconfig)]
        arguments += ["--probe-port", "0", "--progress-address", "127.0.0.1", "--log-format", "text"]
        log = (tmp_path / "operator.log").open("w")
        program = Path(sys.executable).with_name("hearth")
        process = await asyncio.create_subprocess_exec(program, "run", *arguments, stderr=log, stdout=log)
        try:
            yield record
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 30)
            log.close()
            print((tmp_path / "operator.log").read_text())


def condition(cluster: Cluster, kind: str, name: str, namespace: str, type_: str) -> dict[str, Any]:
    status = cluster.get(kind, name, "-n", namespace).get("status", {})
    return next((c for c in status.get("conditions", []) if c["type"] == type_), {})


async def test_the_roles_of_the_chart_suffice(operator: Recording, control_plane: Cluster, namespace: str) -> None:
    control_plane.apply(
        {
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "LLMService",
            "metadata": {"name": "assistant", "namespace": namespace},
            "spec": {"model": {"uri": "oci://models.example/smollm2:1"}, "accelerator": {"count": 0}},
        }
    )

    def job_pod() -> str | None:
        pods = control_plane.get("pods", "-n", namespace, "-l", "batch.kubernetes.io/job-name")["items"]
        return next((p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"), None)

    pod = await until(job_pod, "the inspection pod")
    await asyncio.to_thread(control_plane.end_pod, namespace, pod, message=json.dumps({"facts": FACTS}))
    await until(
        lambda: condition(control_plane, "llmservice", "assistant", namespace, "Ready").get("status") == "True",
        "the service to be ready",
    )
    granted = {Use(right.group, right.resource, verb) for right in RIGHTS for verb in right.verbs}
    assert operator.forbidden == set()
    assert operator.uses - granted == set()
