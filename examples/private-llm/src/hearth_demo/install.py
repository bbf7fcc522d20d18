"""From a bare machine to a cluster with Hearth in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from hearth_cluster import binaries
from hearth_cluster.state import ClusterState

from hearth_demo.steps import StepError

ROOT = Path(__file__).resolve().parents[4]
SYSTEM_NAMESPACE = "hearth-system"

CHART_KEYS = {"vllm-cpu": "vllmCpu", "milvus-lite": "milvusLite"}
"""Image names whose key in the chart's values differs."""
CHART_IMAGES = ("operator", "trainer", "indexer", "gateway", "vllm-cpu", "milvus", "milvus-lite")


def hearth_cluster(*arguments: str) -> None:
    """Runs the cluster tool and lets it show its own progress.

    Raises StepError where it fails; it has said why.
    """
    done = subprocess.run([sys.executable, "-m", "hearth_cluster", *arguments], check=False)
    if done.returncode:
        raise StepError(f"hearth-cluster {' '.join(arguments)} failed, see above")


def chart_values(images: Mapping[str, str]) -> str:
    """The chart's values for the images of a cluster, as JSON (which is YAML).

    Raises StepError naming the images that are not there.
    """
    missing = [name for name in CHART_IMAGES if name not in images]
    if missing:
        raise StepError(f"images not built: {', '.join(missing)}; run make cluster-images")
    return json.dumps({"images": {CHART_KEYS.get(name, name): images[name] for name in CHART_IMAGES}})


def install_charts(state: ClusterState) -> None:
    """Installs both charts, or upgrades what is there, and waits until the operator is ready."""
    environment = {**os.environ, "KUBECONFIG": str(state.kubeconfig)}
    helm = str(binaries.tool("helm"))
    charts = ROOT / "charts"
    calls = (
        ([helm, "upgrade", "--install", "hearth-crds", str(charts / "hearth-crds")], None),
        ([helm, "upgrade", "--install", "hearth", str(charts / "hearth"), "--values", "-"], chart_values(state.images)),
    )
    for call, stdin in calls:
        options = ["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"]
        done = subprocess.run(
            [*call, *options], env=environment, input=stdin, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise StepError(f"helm could not install {call[3]}: {done.stderr.strip()}")
