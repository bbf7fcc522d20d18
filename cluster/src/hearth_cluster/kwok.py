"""kwok: the program that plays the kubelet of fake nodes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from hearth_cluster.fakenodes import FAKE
from hearth_cluster.processes import Component


def write_stages(folder: Path, *, jobs_succeed: bool) -> Path:
    """Writes the stages kwok shall play into one file and returns it."""
    names = ["nodes.yaml", "pods.yaml", *(["jobs-succeed.yaml"] if jobs_succeed else [])]
    texts = [files("hearth_cluster").joinpath("stages", name).read_text() for name in names]
    path = folder / "kwok-stages.yaml"
    path.write_text("---\n".join(texts))
    return path


def component(binaries: Mapping[str, Path], kubeconfig: Path, stages: Path, prefix: tuple[str, ...] = ()) -> Component:
    """kwok for the nodes that carry its annotation, so that real nodes are left alone."""
    flags = [
        f"--kubeconfig={kubeconfig}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={FAKE}=fake",
        f"--config={stages}",
        "--node-lease-duration-seconds=40",
        "--cidr=10.245.0.0/16",
        # An address of TEST-NET-2 (RFC 5737): nothing answers there, as nothing runs on a fake node.
        "--node-ip=198.51.100.2",
    ]
    return Component("kwok", (*prefix, str(binaries["kwok"]), *flags), files=(stages,))
