"""The pinned kubectl."""

from __future__ import annotations

from pathlib import Path

from hearth_cluster import binaries
from hearth_cluster.processes import run_checked

# kubectl would ask a proxy for the way to the API server, which is on this machine.
_DIRECT = {"NO_PROXY": "*", "no_proxy": "*"}


def kubectl(kubeconfig: Path, *arguments: str | Path, stdin: str | None = None) -> str:
    """Runs kubectl and returns what it printed.

    Raises:
        ClusterError: kubectl failed; its error text is in the message.
    """
    return run_checked(
        [binaries.tool("kubectl"), "--kubeconfig", kubeconfig, *arguments], stdin=stdin, environment=_DIRECT
    )
