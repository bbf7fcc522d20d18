"""The rows of the fine-tuning examples: made by their scripts, varied, and apart from what they are measured on."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FIELDS = ["court", "case_number", "date", "defendant", "charge", "verdict", "sentence"]
DECLINE = "not in the documents"
CONFIG_MAP_LIMIT = 2**20


def rows(example: str, name: str) -> list[dict[str, Any]]:
    text = (EXAMPLES / example / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("example", ["court-records", "raft", "assistant-data"])
def test_the_committed_rows_are_what_the_script_makes(example: str, tmp_path: Path) -> None:
    script = EXAMPLES / example / "generate.py"
    subprocess.run([sys.executable, str(script), "--out", str(tmp_path)], check=True)
    for name in ("train.jsonl", "eval.jsonl"):
        assert (tmp_path / name).read_bytes() == (EXAMPLES / example / name).read_bytes()


def test_there_are_court_records_enough_and_their_targets_have_the_fields_in_order() -> None:
    train, held_out = rows("court-records", "train.jsonl"), rows("court-records", "eval.jsonl")
    assert len(train) >= 300
    assert len(held_out) >= 60
    for row in train + held_out:
        assert list(json.loads(row["completion"])) == FIELDS


def test_no_defendant_and_no_case_is_on_both_sides() -> None:
    sides = [[json.loads(r["completion"]) for r in rows("court-records", n)] for n in ("train.jsonl", "eval.jsonl")]
    for field in ("defendant", "case_number"):
        train, held_out = ({case[field] for case in side} for side in sides)
        assert not train & held_out


def test_every_answer_can_be_found_in_the_passage_that_it_cites() -> None:
    for row in rows("raft", "train.jsonl") + rows("raft", "eval.jsonl"):
        _, asked, answered = (m["content"] for m in row["messages"])
        if answered == DECLINE:
            continue
        value, _, number = answered.rpartition(" [")
        passages = asked.removeprefix("Passages:\n").split("\n\nQuestion: ")[0].split("\n\n")
        cited = passages[int(number.rstrip("]")) - 1]
        assert value.lower() in cited.lower()


def test_about_a_quarter_of_the_passage_rows_have_no_answer() -> None:
    found = rows("raft", "train.jsonl")
    share = sum(r["messages"][-1]["content"] == DECLINE for r in found) / len(found)
    assert 0.2 <= share <= 0.35


def test_held_out_passage_rows_ask_about_topics_that_were_not_taught() -> None:
    taught = {r["messages"][1]["content"].split("Question: ")[1] for r in rows("raft", "train.jsonl")}
    asked = {r["messages"][1]["content"].split("Question: ")[1] for r in rows("raft", "eval.jsonl")}
    assert not taught & asked


def test_the_taught_rows_hold_no_answer_of_the_handbook() -> None:
    text = (EXAMPLES / "assistant-data" / "train.jsonl").read_text(encoding="utf-8").lower()
    answers = [q["answer"] for q in rows("handbook", "qa.jsonl") if q["answer"]]
    names = [a for a in answers if not any(c.isdigit() for c in a) and a[0].isupper()]
    assert len(names) > 5
    assert not [n for n in names if n.lower() in text]


def test_the_mixed_rows_fit_a_config_map() -> None:
    sizes = [(EXAMPLES / "assistant-data" / name).stat().st_size for name in ("train.jsonl", "eval.jsonl")]
    assert sum(sizes) < CONFIG_MAP_LIMIT
