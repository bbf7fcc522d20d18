"""A control plane comes back after anything was killed, and goes with the run that made it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hearth_cluster import lifecycle, loopback
from hearth_cluster.processes import ProcessIdentity, Supervisor
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState

COMPONENTS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}

MAKE_ONE = """
import time
from hearth_cluster import ephemeral
with ephemeral.control_plane() as cluster:
    print(cluster.name, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder that no other cluster of the machine shares."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def identities(state: ClusterState) -> dict[str, ProcessIdentity]:
    supervisor = Supervisor(state.folder)
    found = {name: supervisor.identity(name) for name in supervisor.names()}
    return {name: identity for name, identity in found.items() if identity is not None}


def test_a_second_up_repairs_what_was_killed_and_keeps_the_rest(own_state: Path) -> None:
    state = ClusterState("repaired")
    try:
        cluster = loopback.up(state, Progress())
        cluster.kubectl("create", "configmap", "kept", "--from-literal=a=1")
        before = identities(state)
        assert set(before) == COMPONENTS
        for name in ("etcd", "kube-apiserver"):
            os.kill(before[name].pid, signal.SIGKILL)
            while before[name].alive():
                time.sleep(0.02)
        loopback.up(state, Progress())
        assert cluster.get("configmap", "kept")["data"] == {"a": "1"}
        after = identities(state)
        assert after["kube-scheduler"] == before["kube-scheduler"]
        assert after["etcd"] != before["etcd"]
    finally:
        loopback.down(state)


def test_the_cluster_of_a_killed_run_is_removed_by_the_next(own_state: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKE_ONE], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        state = ClusterState(run.stdout.readline().strip())
        left = identities(state)
        assert lifecycle.reap() == []
        run.kill()
    assert all(identity.alive() for identity in left.values())
    assert lifecycle.reap() == [state.name]
    assert not any(identity.alive() for identity in left.values())
    assert not state.exists()
