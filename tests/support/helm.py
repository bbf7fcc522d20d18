"""Helm on one cluster, as the documentation tells people to use it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hearth_cluster import binaries
from hearth_cluster.cluster import Cluster

CHARTS = Path(__file__).resolve().parents[2] / "charts"
NAMESPACE = "hearth-system"


class Helm:
    """Installs, upgrades and removes the charts in `hearth-system`; `values` names the images."""

    def __init__(self, cluster: Cluster, values: Path) -> None:
        self.cluster = cluster
        self.values = values

    def __call__(self, *arguments: str) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self.cluster.kubeconfig)}
        command = [str(binaries.tool("helm")), *arguments, "--namespace", NAMESPACE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=400)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def install(self, chart: str, *options: str) -> str:
        """Installs or upgrades and waits until what was installed is ready."""
        values = ["--values", str(self.values)] if chart == "hearth" else []
        wait = ["--create-namespace", "--wait", "--timeout", "5m"]
        return self("upgrade", "--install", chart, str(CHARTS / chart), *values, *wait, *options)

    def uninstall(self, chart: str) -> None:
        """Removes a release and waits until its objects are gone."""
        self("uninstall", chart, "--wait")
