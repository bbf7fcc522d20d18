"""What a container leaves behind always fits into what the kubelet keeps, and is always JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hearth_trainer.errors import BadDataError
from hearth_trainer.termination import LIMIT, cut, write_error, write_result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=())).map(lambda text: text * 500) | st.text()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the container writes."""
    return tmp_path_factory.mktemp("pod") / "termination-log"


@pytest.fixture(autouse=True)
def written_to(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The container finds the file where the kubelet put it."""
    monkeypatch.setenv("HEARTH_TERMINATION_LOG", str(log))


def left_in(log: Path) -> Any:
    told = log.read_bytes()
    assert len(told) <= LIMIT
    return json.loads(told)


@given(message=TEXTS, suggestion=TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_an_error_fits_whatever_it_says(log: Path, message: str, suggestion: str) -> None:
    write_error(BadDataError("MalformedRow", message, suggestion))
    error = left_in(log)["error"]
    assert error["class"] == "MalformedRow"
    assert bool(error.get("suggestion")) == bool(suggestion)


@pytest.mark.parametrize("text", ["ä" * 1500, "x" * 3000, '"' * 1500, "\n" * 1500, "\0" * 500, "𝄞" * 750])
def test_as_many_characters_are_kept_as_the_bytes_allow(text: str) -> None:
    assert cut(text, 3000) == text
    cut_off = cut(text * 2, 3000)
    assert (cut_off[-1], text.startswith(cut_off[:-1])) == ("…", True)
    assert 2990 <= len(json.dumps(cut_off, ensure_ascii=False).encode()) - 2 <= 3000


@given(st.lists(st.lists(TEXTS, max_size=3), max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_result_fits_whatever_the_files_with_findings_are_called(log: Path, lines: list[list[str]]) -> None:
    findings = [{"check": "duplicates", "count": len(names), "lines": names} for names in lines]
    write_result({"digest": "sha256:1", "findings": findings})
    result = left_in(log)["result"]
    assert result["digest"] == "sha256:1"
    assert [f["count"] for f in result["findings"]] == [len(names) for names in lines]


def test_lines_are_named_as_far_as_there_is_room(log: Path) -> None:
    write_result({"findings": [{"check": "tooLong", "count": 5, "lines": [f"{n}-{'a' * 1200}" for n in range(5)]}]})
    assert [name[0] for name in left_in(log)["result"]["findings"][0]["lines"]] == ["0", "1", "2"]
