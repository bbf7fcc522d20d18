"""The Kustomize component puts the health checks where Argo CD reads them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import yaml
from hearth_cluster import binaries

ARGOCD = Path(__file__).resolve().parents[3] / "docs" / "gitops" / "argocd"


def test_the_component_adds_to_the_settings_that_are_there(tmp_path: Path) -> None:
    existing = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "argocd-cm", "namespace": "argocd"},
        "data": {"url": "https://argocd.example.com"},
    }
    (tmp_path / "argocd-cm.yaml").write_text(yaml.safe_dump(existing))
    component = os.path.relpath(ARGOCD, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["argocd-cm.yaml"], "components": [component]})
    )
    built = subprocess.run(
        [str(binaries.tool("kubectl")), "kustomize", str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    data = yaml.safe_load(built)["data"]
    assert data["url"] == "https://argocd.example.com"
    for script in ARGOCD.glob("*.lua"):
        assert script.read_text() in data.values()
    assert len(data) == 1 + len(list(ARGOCD.glob("*.lua")))
