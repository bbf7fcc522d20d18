"""From a bare machine to a cluster with Hearth in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hearth_cluster import binaries
from hearth_cluster.images import values_file
from hearth_cluster.processes import without_proxies
from hearth_cluster.state import ClusterState

from hearth_demo.steps import StepError

ROOT = Path(__file__).resolve().parents[4]
SYSTEM_NAMESPACE = "hearth-system"


def hearth_cluster(*arguments: str) -> None:
    """Runs the cluster tool and lets it show its own progress.

    Raises StepError where it fails; it has said why.
    """
    done = subprocess.run([sys.executable, "-m", "hearth_cluster", *arguments], check=False)
    if done.returncode:
        raise StepError(f"hearth-cluster {' '.join(arguments)} failed, see above")


def install_charts(state: ClusterState) -> None:
    """Installs both charts, or upgrades what is there, and waits until the operator is ready."""
    environment = {**without_proxies(), "KUBECONFIG": str(state.kubeconfig)}
    helm = str(binaries.tool("helm"))
    charts = ROOT / "charts"
    calls = (
        ["hearth-crds", str(charts / "hearth-crds")],
        ["hearth", str(charts / "hearth"), "--values", str(values_file(state))],
    )
    for call in calls:
        options = ["--namespace", SYSTEM_NAMESPACE, "--create-namespace", "--wait", "--timeout", "5m"]
        command = [helm, "upgrade", "--install", *call, *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise StepError(f"helm could not install {call[0]}: {done.stderr.strip()}")
