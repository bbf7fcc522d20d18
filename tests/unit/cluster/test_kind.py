"""What is asked of kind and Docker where they are there."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml
from hearth_cluster import binaries, kind, lifecycle
from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import Component, Supervisor
from hearth_cluster.progress import Progress
from hearth_cluster.state import ClusterState


def test_the_node_finds_the_registry_by_its_symbolic_name() -> None:
    document = yaml.safe_load(kind.configuration(Path("/state/certs.d")))
    mount = document["nodes"][0]["extraMounts"][0]
    assert mount == {"hostPath": "/state/certs.d", "containerPath": "/etc/containerd/certs.d", "readOnly": True}
    patch = tomllib.loads(document["containerdConfigPatches"][0])
    assert patch["plugins"]["io.containerd.grpc.v1.cri"]["registry"]["config_path"] == mount["containerPath"]


def test_the_registrys_address_is_its_containers_name_and_own_port() -> None:
    assert list(tomllib.loads(kind.hosts("hearth-a-registry"))["host"]) == ["http://hearth-a-registry:5000"]


def test_the_registry_listens_on_loopback_and_keeps_its_blobs() -> None:
    command = kind.registry_command("hearth-a-registry", 40000)
    assert command[command.index("--publish") + 1] == "127.0.0.1:40000:5000"
    assert command[command.index("--volume") + 1].startswith("hearth-registry:")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ClusterState:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return ClusterState("a")


@pytest.mark.parametrize(("docker", "provider"), [(True, "kind"), (False, "native")])
def test_kind_is_chosen_where_docker_answers(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch, docker: bool, provider: str
) -> None:
    monkeypatch.setattr(kind, "available", lambda: docker)
    assert lifecycle.choose_provider("auto", state) == provider


def test_a_wanted_provider_is_taken_whatever_the_machine_has(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "available", lambda: True)
    assert lifecycle.choose_provider("native", state) == "native"


def test_a_cluster_keeps_the_provider_that_made_it(state: ClusterState, monkeypatch: pytest.MonkeyPatch) -> None:
    state.update(profile="node", provider="native")
    monkeypatch.setattr(kind, "available", lambda: True)
    assert lifecycle.choose_provider("auto", state) == "native"
    with pytest.raises(ClusterError, match="made by the provider 'native', not 'kind'"):
        lifecycle.choose_provider("kind", state)


def test_taking_the_cluster_down_ends_what_runs_beside_its_containers(
    state: ClusterState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind, "available", lambda: True)
    monkeypatch.setattr(kind, "run_checked", lambda *_: "")
    monkeypatch.setattr(kind, "_docker_succeeds", lambda *_: False)
    monkeypatch.setattr(binaries, "tool", lambda *_: Path("kind"))
    state.update(profile="node", provider="kind")
    supervisor = Supervisor(state.folder)
    supervisor.ensure(Component("kwok", ("/bin/sleep", "60")))
    kwok = supervisor.identity("kwok")
    kind.down(state, Progress())
    assert kwok is not None
    assert not kwok.alive()
    assert not state.exists()
