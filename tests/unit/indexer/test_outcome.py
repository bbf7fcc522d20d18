"""The termination message fits in what the kubelet keeps."""

from __future__ import annotations

import json
from pathlib import Path

from hearth_indexer.outcome import BadDataError, write


def test_a_short_result_is_written_whole(tmp_path: Path) -> None:
    write(tmp_path / "log", {"result": {"chunks": 3, "skipped": []}})

    assert json.loads((tmp_path / "log").read_text()) == {"result": {"chunks": 3, "skipped": []}}


def test_details_are_cut_before_facts(tmp_path: Path) -> None:
    skipped = [{"uri": f"pvc://docs/{'é' * 80}/{n}", "reason": "is no readable PDF"} for n in range(100)]
    write(tmp_path / "log", {"result": {"chunks": 3, "skipped": skipped}})
    told = json.loads((tmp_path / "log").read_text())

    assert (tmp_path / "log").stat().st_size <= 4096
    assert told["result"]["chunks"] == 3
    assert 1 <= len(told["result"]["skipped"]) < 100


def test_a_long_error_keeps_its_beginning(tmp_path: Path) -> None:
    write(tmp_path / "log", {"error": BadDataError("engine said: " + "x" * 10_000, "look at the engine").as_json()})
    told = json.loads((tmp_path / "log").read_text())

    assert (tmp_path / "log").stat().st_size <= 4096
    assert told["error"]["message"].startswith("engine said: x")
    assert told["error"]["suggestion"] == "look at the engine"


def test_a_name_that_no_encoding_has_is_told_as_far_as_it_can_be(tmp_path: Path) -> None:
    name = b"M\xfcller.pdf".decode(errors="surrogateescape")
    write(tmp_path / "log", {"result": {"chunks": 3, "skipped": [{"uri": name, "reason": "is no readable PDF"}]}})

    assert json.loads((tmp_path / "log").read_bytes())["result"]["skipped"][0]["uri"] == "M?ller.pdf"
