"""`hearth status`: looking once, and looking on."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from hearth.api.base import Json
from hearth.cli import status
from hearth.cli.app import app
from hearth.kube.errors import ConnectionFailedError, NotFoundError
from typer.testing import CliRunner, Result


def service(name: str, phase: str) -> Json:
    return {"kind": "LLMService", "metadata": {"namespace": "team", "name": name}, "status": {"phase": phase}}


def run(folder: Path, *arguments: str) -> Result:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "namespace": "team"}}],
        "current-context": "x",
    }
    (folder / "config").write_text(yaml.safe_dump(config))
    return CliRunner().invoke(app, ["status", "--kubeconfig", str(folder / "config"), *arguments])


def looks(monkeypatch: pytest.MonkeyPatch, *answers: list[Json] | BaseException) -> None:
    """What one look after the other finds."""
    left = list(answers)

    async def chosen(api: object, namespace: str, names: Sequence[str]) -> list[Json]:
        answer = left.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(status, "_chosen", chosen)
    monkeypatch.setattr(status, "WATCH_SECONDS", 0.0)


def test_watching_shows_what_changes_outlasts_a_server_that_is_away_and_ends_with_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = ConnectionFailedError("http://127.0.0.1:9: refused")
    looks(monkeypatch, [], [service("court", "Loading")], away, [service("court", "Serving")], KeyboardInterrupt())
    done = run(tmp_path, "--watch")
    assert done.exit_code == 0
    assert "LLMService team/court  Serving" in done.stdout


def test_watching_is_for_people(tmp_path: Path) -> None:
    done = run(tmp_path, "--watch", "-o", "json")
    assert done.exit_code == 1
    assert "--watch shows trees" in done.stderr


def test_nothing_found_says_where_and_how_to_look_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, [])
    done = run(tmp_path, "court")
    assert done.exit_code == 1
    assert done.stderr == "hearth: none named court in team; -A looks in all namespaces\n"


def test_a_cluster_without_the_kinds_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks(monkeypatch, NotFoundError(404, "", "404 page not found"))
    done = run(tmp_path)
    assert done.exit_code == 1
    assert done.stderr == "hearth: the cluster does not have the kinds of Hearth: install the chart hearth-crds\n"


@pytest.mark.parametrize("output", ["tree", "json"])
def test_what_is_there_is_shown_and_what_is_missing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    looks(monkeypatch, [service("court", "Serving")])
    done = run(tmp_path, "court", "typo", "-o", output)
    assert "court" in done.stdout
    assert done.exit_code == 1
    assert done.stderr == "hearth: none named typo in team; -A looks in all namespaces\n"


def test_the_version_is_the_distributions() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == "hearth 0.1.0\n"
