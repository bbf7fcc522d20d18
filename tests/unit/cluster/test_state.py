"""What is known of a cluster, in a folder of its own."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from hearth_cluster import lifecycle, loopback, native, subnets
from hearth_cluster.controlplane import ControlPlane
from hearth_cluster.errors import ClusterError
from hearth_cluster.network import NodeNetwork
from hearth_cluster.processes import ProcessIdentity, without_proxies
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState, all_clusters


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterState:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return ClusterState("one")


@pytest.mark.parametrize("name", ["", "One", "a b", "-a", "a-", "a/b", "..", "n" * 25])
def test_a_name_that_could_not_be_a_folder_or_a_namespace_is_refused(name: str) -> None:
    with pytest.raises(ClusterError, match="cannot name a cluster"):
        ClusterState(name)


def test_a_second_up_finds_the_addresses_of_the_first(state: ClusterState) -> None:
    addresses = loopback._choose_addresses()
    state.update(profile="control-plane", addresses=vars(addresses))
    assert ClusterState("one").addresses() == addresses


def test_recording_one_thing_keeps_the_others(state: ClusterState) -> None:
    state.update(profile="node", network="10.200.1.0/24")
    state.update(owner=None)
    assert state.settings() == {"profile": "node", "network": "10.200.1.0/24", "owner": None}


def test_a_cluster_keeps_its_profile(state: ClusterState) -> None:
    state.require_profile("node")
    state.update(profile="node")
    with pytest.raises(ClusterError, match="is up with the profile 'node', not 'control-plane'"):
        state.require_profile("control-plane")


def test_an_owner_is_one_process_for_good(state: ClusterState) -> None:
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    state.update(owner=vars(own))
    assert state.owner() == own


def test_a_second_up_leaves_a_cluster_with_the_living_process_it_is_tied_to(state: ClusterState) -> None:
    state.own(owned=False)
    assert state.owner() is None
    state.own(owned=True)
    state.own(owned=False)
    assert state.owner() == ProcessIdentity.of(os.getpid())


def test_a_second_up_frees_a_cluster_from_a_process_that_is_gone(state: ClusterState) -> None:
    gone = subprocess.Popen(["sleep", "60"])
    identity = ProcessIdentity.of(gone.pid)
    gone.kill()
    gone.wait()
    assert identity is not None
    state.update(owner=vars(identity))
    state.own(owned=False)
    assert state.owner() is None


def interrupted(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Lets something happen while this process waits for its first lock."""
    real, pending = fcntl.flock, [meanwhile]

    def flock(handle: IO[str], operation: int) -> None:
        if pending:
            pending.pop()()
        real(handle, operation)

    monkeypatch.setattr(fcntl, "flock", flock)


def test_who_waited_for_a_down_holds_the_lock_that_the_next_one_waits_for(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lifecycle._lock(state)
    interrupted(monkeypatch, lock.unlink)
    with lifecycle.alone(state), lock.open() as next_one, pytest.raises(BlockingIOError):
        fcntl.flock(next_one, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_down_leaves_no_lock_even_if_another_was_faster(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    state.update(profile="control-plane")
    interrupted(monkeypatch, state.remove)
    lifecycle.down(state, Progress())
    assert list(state.folder.parent.iterdir()) == []


def test_a_new_cluster_does_not_move_into_the_namespace_of_another_users(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subnets, "routed", list)
    monkeypatch.setattr(NodeNetwork, "exists", lambda network: True)
    with pytest.raises(ClusterError, match=r"namespace hearth-one is there.*choose another --name"):
        native._settle(state, owned=False)
    assert not state.exists()
    state.update(network="10.200.1.0/24")  # its own: `up` repairs it
    native._settle(state, owned=False)


def test_a_cluster_without_a_registry_says_what_to_bring_up(state: ClusterState) -> None:
    with pytest.raises(ClusterError, match="hearth-cluster up --name one"):
        assert state.registry


def test_only_folders_of_clusters_are_clusters(state: ClusterState) -> None:
    assert all_clusters() == []
    state.update(profile="node")
    (state.folder.parent / ".one.lock").touch()
    assert all_clusters() == [state]


def test_a_control_plane_on_loopback_listens_nowhere_else(tmp_path: Path) -> None:
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    programs = {name: Path("/bin") / name for name in names}
    plane = ControlPlane(programs, tmp_path, loopback._choose_addresses())
    components = [plane.etcd(), plane.api_server(), plane.controller_manager(), plane.scheduler()]
    words = [word for component in components for word in component.argv]
    listening = [word.split("=", 1)[1] for word in words if word.startswith(("--bind-address", "--listen-"))]
    assert len(listening) == 5
    assert all(address.removeprefix("https://").startswith("127.0.0.1") for address in listening)


def test_components_are_not_sent_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert not {"HTTPS_PROXY", "http_proxy"} & without_proxies().keys()
