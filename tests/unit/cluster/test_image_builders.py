"""How builders are called, shown with a stand-in for buildah that writes down its arguments."""

from __future__ import annotations

from pathlib import Path

import pytest
from hearth_cluster.errors import ClusterError
from hearth_cluster.image_builders import Build, Buildah, Docker, builder_for

STAND_IN = """#!/bin/sh
echo "$@" >> "$CALLS"
echo "$HTTP_PROXY$https_proxy" > "$CALLS.proxies"
case "$*" in
*broken*) echo "Error: no space left on device"; exit 125 ;;
*" bud "*) echo "[1/2] STEP 1/3: FROM x"; echo "a line of a step"; echo "STEP 2/3: RUN y" ;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("buildah", "mmdebstrap"):
        (programs / program).write_text(STAND_IN)
        (programs / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    return tmp_path / "calls"


def build(folder: Path, reference: str = "localhost/hearth/gateway:1") -> Build:
    return Build(reference, folder / "Containerfile", folder, {"BASE": "localhost/hearth/base:1"}, folder / "log")


def test_every_step_that_buildah_reports_is_counted(calls: Path, tmp_path: Path) -> None:
    steps: list[None] = []
    Buildah(tmp_path).build(build(tmp_path), lambda: steps.append(None))
    assert len(steps) == 2


def test_a_build_names_its_base_and_asks_no_registry(calls: Path, tmp_path: Path) -> None:
    Buildah(tmp_path).build(build(tmp_path), lambda: None)
    command = calls.read_text().splitlines()[0]
    assert "--build-arg BASE=localhost/hearth/base:1" in command
    assert "--pull-never" in command


def test_certificates_of_this_machine_reach_a_build_as_a_secret_alone(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/company.crt")
    Buildah(tmp_path).build(build(tmp_path), lambda: None)
    command = calls.read_text().splitlines()[0]
    assert "--secret id=ca,src=/etc/company.crt --build-arg" in command
    assert "SSL_CERT_FILE=/run/ca.crt" in command


def test_a_push_lets_buildah_use_the_layers_that_the_registry_holds(calls: Path, tmp_path: Path) -> None:
    # buildah compresses every layer again, if it is told a level: two minutes instead of half a second for the trainer.
    Buildah(tmp_path).push("localhost/hearth/trainer:1", "127.0.0.1:5000/hearth/trainer:1", tmp_path / "log")
    (command,) = calls.read_text().splitlines()
    assert "--compression-format zstd localhost/hearth/trainer:1" in command


def test_a_push_to_a_registry_of_this_machine_goes_past_every_proxy(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:3128")
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    proxies = tmp_path / "calls.proxies"
    Buildah(tmp_path).build(build(tmp_path), lambda: None)
    assert "proxy.invalid" in proxies.read_text(), "a build may need it"
    Buildah(tmp_path).push("localhost/hearth/trainer:1", "127.0.0.1:5000/hearth/trainer:1", tmp_path / "log")
    assert proxies.read_text() == "\n"


def test_a_failed_build_says_why_where_the_log_is_and_leaves_nothing_behind(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(ClusterError) as caught:
        Buildah(tmp_path).build(build(tmp_path, "localhost/hearth/broken:1"), lambda: None)
    assert "no space left on device" in str(caught.value)
    assert str(tmp_path / "log") in str(caught.value)
    assert calls.read_text().splitlines()[-1].endswith("rm --all")


def test_a_machine_without_a_builder_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="apt-get install buildah mmdebstrap"):
        builder_for("native", tmp_path)


def test_docker_builds_for_kind_only_because_it_pushes_to_plain_http_on_loopback_only(
    calls: Path, tmp_path: Path
) -> None:
    assert builder_for("kind", tmp_path) == Docker()
    assert builder_for("native", tmp_path) == Buildah(tmp_path)
