"""Components: started once, known for good, ended for sure."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from hearth_cluster import native
from hearth_cluster.errors import ClusterError
from hearth_cluster.processes import (
    Component,
    ProcessIdentity,
    Supervisor,
    parse_stat,
    past_proxies,
    run_checked,
)

SLEEP = Component("sleeper", ("/bin/sleep", "60"))


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path)


def test_a_running_component_is_not_started_again(supervisor: Supervisor) -> None:
    assert supervisor.ensure(SLEEP)
    first = supervisor.identity("sleeper")
    assert not supervisor.ensure(SLEEP)
    assert supervisor.identity("sleeper") == first
    supervisor.stop(["sleeper"])


def test_a_component_whose_starter_was_killed_before_it_noted_the_pid_is_found(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    # nohup becomes the command it is given, as nsenter does.
    component = Component("sleeper", ("/usr/bin/nohup", "/bin/tail", "-f", str(tmp_path / "logs" / "sleeper.log")))
    supervisor.ensure(component)
    started = supervisor.identity("sleeper")
    record = tmp_path / "run" / "sleeper.json"
    content = json.loads(record.read_text())
    record.write_text(json.dumps({name: content[name] for name in ("argv", "fingerprint")}))
    assert started is not None
    assert supervisor.identity("sleeper") == started
    assert not supervisor.ensure(component), "it runs"
    supervisor.stop(["sleeper"])
    assert not started.alive()


def test_a_component_that_was_never_started_is_started(supervisor: Supervisor, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    intent = {"argv": ["/bin/sleep", "never-started"], "fingerprint": SLEEP.fingerprint()}
    (tmp_path / "run" / "sleeper.json").write_text(json.dumps(intent))
    assert not supervisor.running("sleeper")
    assert supervisor.ensure(SLEEP)
    supervisor.stop(["sleeper"])


def test_a_component_that_was_killed_is_started_again(supervisor: Supervisor) -> None:
    supervisor.ensure(SLEEP)
    first = supervisor.identity("sleeper")
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    while first.alive():
        time.sleep(0.01)
    assert not supervisor.running("sleeper")
    assert supervisor.ensure(SLEEP)
    supervisor.stop(["sleeper"])


def test_a_component_with_another_command_line_is_replaced(supervisor: Supervisor) -> None:
    supervisor.ensure(SLEEP)
    first = supervisor.identity("sleeper")
    assert supervisor.ensure(Component("sleeper", ("/bin/sleep", "61")))
    assert first is not None
    assert not first.alive()
    supervisor.stop(["sleeper"])


def test_a_component_with_another_configuration_is_started_anew(supervisor: Supervisor, tmp_path: Path) -> None:
    configuration = tmp_path / "config"
    configuration.write_text("a: 1")
    component = Component("sleeper", ("/bin/sleep", "60"), files=(configuration,))
    assert supervisor.ensure(component)
    assert not supervisor.ensure(component)
    configuration.write_text("a: 2")
    assert supervisor.ensure(component)
    supervisor.stop(["sleeper"])


def test_a_stopped_component_leaves_no_process_and_no_record(supervisor: Supervisor) -> None:
    supervisor.ensure(SLEEP)
    identity = supervisor.identity("sleeper")
    supervisor.stop(["sleeper"])
    assert identity is not None
    assert not identity.alive()
    assert supervisor.names() == []


def test_a_component_that_ignores_sigterm_is_killed(supervisor: Supervisor) -> None:
    script = "import signal,time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); time.sleep(60)"
    supervisor.ensure(Component("stubborn", (sys.executable, "-c", script)))
    while "on" not in supervisor.tail("stubborn"):
        time.sleep(0.02)
    supervisor.stop(["stubborn"], seconds=0.2)
    assert not supervisor.running("stubborn")


def test_a_process_that_took_over_the_pid_is_not_ours() -> None:
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    assert own.alive()
    assert not ProcessIdentity(own.pid, own.start - 1, own.boot).alive()
    assert not ProcessIdentity(own.pid, own.start, "another boot").alive()


@pytest.mark.parametrize(
    ("state", "threads", "start"),
    [("S", 9, 4711), ("Z", 1, None), ("X", 0, None), ("Z", 3, 4711)],
    ids=["running", "dead", "gone", "dying, other threads still hold their sockets"],
)
def test_a_process_is_dead_when_its_last_thread_is(state: str, threads: int, start: int | None) -> None:
    fields = [state, *["0"] * 16, str(threads), "0", "4711", "0"]
    assert parse_stat(f"42 (a (b) c) {' '.join(fields)}") == start


def test_a_component_that_ended_is_reported_with_its_last_words(supervisor: Supervisor) -> None:
    supervisor.ensure(Component("brief", ("/bin/sh", "-c", "echo port is taken; exec sleep 0.1")))
    while supervisor.running("brief"):
        time.sleep(0.02)
    with pytest.raises(ClusterError, match="port is taken"):
        supervisor.require("brief")


def test_a_node_without_names_or_services_is_not_up(supervisor: Supervisor) -> None:
    for name in ("kubelet", "containerd", "coredns", "kube-proxy"):
        supervisor.ensure(Component(name, SLEEP.argv))
    native._await_node(lambda: True, supervisor)
    identity = supervisor.identity("coredns")
    assert identity is not None
    identity.send(signal.SIGKILL)
    while supervisor.running("coredns"):
        time.sleep(0.02)
    try:
        with pytest.raises(ClusterError, match="coredns ended"):
            native._await_node(lambda: True, supervisor)
    finally:
        supervisor.stop(supervisor.names())


def test_programs_in_sbin_are_found_even_if_the_users_path_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/home/user/bin:/bin")
    assert run_checked(["sh", "-c", "echo $PATH"]) == "/home/user/bin:/bin:/usr/sbin:/sbin\n"
    monkeypatch.delenv("PATH")
    assert run_checked(["sh", "-c", "echo $PATH"]).startswith("/")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "127.0.0.1"),
        ({"NO_PROXY": "a.example", "no_proxy": "b.example, a.example"}, "a.example,b.example,127.0.0.1"),
        ({"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}, "127.0.0.1"),
    ],
)
def test_addresses_past_the_proxy_join_those_of_both_variables_once(environment: dict[str, str], expected: str) -> None:
    assert past_proxies(environment, "127.0.0.1") == expected


def test_a_failed_command_is_reported_with_what_it_printed() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c .*` failed \(3\): no luck"):
        run_checked(["/bin/sh", "-c", "echo no luck >&2; exit 3"])
