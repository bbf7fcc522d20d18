"""What the linter counts, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from hearth_trainer.config import ChecksConfig, DatasetConfig, SourceConfig
from hearth_trainer.errors import BadDataError
from hearth_trainer.lint import Dataset, lint, split
from hearth_trainer.rows import Row, read_row
from hearth_trainer.tokens import Length

CONTEXT = 50


def measure(row: Row) -> Length:
    """One token a word."""
    target = len(row.target.split())
    return Length(sum(len(m.content.split()) for m in row.prompt) + target, target)


def pair(number: int, completion: str = "yes") -> dict[str, str]:
    return {"prompt": f"Is {number} even?", "completion": completion}


class Rows:
    """Files with rows, and the linter over them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file(self, name: str, *lines: Any) -> Path:
        path = self.folder / name
        path.write_text("".join(f"{x if isinstance(x, str) else json.dumps(x)}\n" for x in lines), encoding="utf-8")
        return path

    def check(self, train: Path, held_out: Path | None = None, **config: Any) -> Dataset:
        source = SourceConfig(path=str(train), source="configMap://rows/train.jsonl")
        other = SourceConfig(path=str(held_out), source="configMap://rows/eval.jsonl") if held_out else None
        dataset = DatasetConfig(train=source, eval=other, **config)
        return lint(dataset, [train], [held_out] if held_out else None, measure, CONTEXT)

    def refused(self, *args: Any, **config: Any) -> BadDataError:
        with pytest.raises(BadDataError) as caught:
            self.check(*args, **config)
        return caught.value


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path)


def test_good_rows_are_counted(rows: Rows) -> None:
    found = rows.check(rows.file("t.jsonl", *map(pair, range(10))), rows.file("e.jsonl", pair(99)))
    assert (found.layout, len(found.train), len(found.held_out)) == ("PromptCompletion", 10, 1)
    assert (found.train_tokens, found.longest_row, found.longest_target) == (40, 4, 1)
    assert found.findings.as_json() == []


def test_an_empty_file_is_refused(rows: Rows) -> None:
    error = rows.refused(rows.file("t.jsonl"))
    assert (error.kind, error.exit_code) == ("EmptyDataset", 65)
    assert error.message == "configMap://rows/train.jsonl holds no rows"


def test_a_broken_line_is_named_with_its_number_and_column(rows: Rows) -> None:
    error = rows.refused(rows.file("t.jsonl", pair(1), '{"prompt": "x" "completion": "y"}', pair(2)))
    assert error.kind == "MalformedRow"
    assert "1 of 3 lines are broken: t.jsonl:2" in error.message
    assert "Expecting ',' delimiter at column 16" in error.message


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085"])
def test_only_a_newline_ends_a_row(rows: Rows, separator: str) -> None:
    lines = [json.dumps(pair(n, f"one{separator}two"), ensure_ascii=False) for n in range(2)]
    found = rows.check(rows.file("t.jsonl", *lines), rows.file("e.jsonl", pair(9)))
    assert [(r.place, r.target) for r in found.train] == [
        ("t.jsonl:1", f"one{separator}two"),
        ("t.jsonl:2", f"one{separator}two"),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_of_other_systems_are_understood(rows: Rows, ending: str) -> None:
    path = rows.folder / "t.jsonl"
    path.write_bytes(ending.join(json.dumps(pair(n)) for n in range(3)).encode())
    assert len(rows.check(path, rows.file("e.jsonl", pair(9))).train) == 3


@pytest.mark.parametrize(("name", "text"), [("t.jsonl", json.dumps(pair(1))), ("t.json", json.dumps([pair(1)]))])
def test_a_byte_order_mark_is_no_part_of_the_first_row(rows: Rows, name: str, text: str) -> None:
    path = rows.folder / name
    path.write_text(text, encoding="utf-8-sig")
    assert len(rows.check(path, rows.file("e.jsonl", pair(9))).train) == 1


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_line_nested_too_deeply_is_named(rows: Rows, name: str) -> None:
    error = rows.refused(rows.file(name, "[" * 100_000))
    assert error.kind == "MalformedRow"
    assert f"{name}:1 (the first: nested too deeply)" in error.message


def test_many_broken_lines_are_counted_and_the_first_are_named(rows: Rows) -> None:
    error = rows.refused(rows.file("t.jsonl", pair(1), *["oops"] * 9))
    assert "9 of 10 lines are broken: t.jsonl:2, t.jsonl:3, t.jsonl:4, t.jsonl:5, t.jsonl:6 and 4 more" in error.message


def test_a_missing_field_is_named(rows: Rows) -> None:
    error = rows.refused(rows.file("t.jsonl", pair(1), {"prompt": "x"}))
    assert error.kind == "MissingField"
    assert "t.jsonl:2" in error.message
    assert "field completion is missing" in error.message


def test_a_broken_held_out_file_is_named_by_its_own_source(rows: Rows) -> None:
    error = rows.refused(rows.file("t.jsonl", pair(1)), rows.file("e.jsonl", "oops"))
    assert error.message.startswith("configMap://rows/eval.jsonl: 1 of 1 lines are broken: e.jsonl:1")


def test_duplicates_are_counted_and_kept(rows: Rows) -> None:
    found = rows.check(rows.file("t.jsonl", pair(1), pair(1), pair(2)), rows.file("e.jsonl", pair(3)))
    assert len(found.train) == 3
    assert found.findings.as_json() == [{"check": "duplicates", "count": 1, "lines": ["t.jsonl:2"]}]


def test_leakage_is_refused_unless_allowed(rows: Rows) -> None:
    files = rows.file("t.jsonl", pair(1), pair(2)), rows.file("e.jsonl", pair(2, "no"))
    assert rows.refused(*files).kind == "Leakage"
    found = rows.check(*files, checks=ChecksConfig(leakage="Warn"))
    assert found.findings.count("leakage") == 1


def test_empty_targets_are_refused_or_left_out(rows: Rows) -> None:
    files = rows.file("t.jsonl", pair(1), pair(2, "  ")), rows.file("e.jsonl", pair(3))
    assert rows.refused(*files).kind == "EmptyTargets"
    assert len(rows.check(*files, checks=ChecksConfig(empty_targets="Warn")).train) == 1


def test_rows_longer_than_the_context_are_left_out_up_to_a_share(rows: Rows) -> None:
    long = {"prompt": "word " * 60, "completion": "yes"}
    files = rows.file("t.jsonl", *map(pair, range(19)), long), rows.file("e.jsonl", pair(99))
    found = rows.check(*files)
    assert len(found.train) == 19
    assert found.findings.count("tooLong") == 1
    error = rows.refused(*files, checks=ChecksConfig(max_truncated_percent=1))
    assert error.kind == "RowsTooLong"
    assert "1 of 21 rows are longer than 50 tokens" in error.message


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    made = [read_row(pair(n), "PromptCompletion", f"r:{n}") for n in range(200)]
    _, one = split(made, 0.1)
    _, other = split(made[::-1], 0.1)
    assert {r.place for r in one} == {r.place for r in other}
    assert 8 <= len(one) <= 32


def test_a_row_added_later_moves_no_other_row_to_the_other_side() -> None:
    made = [read_row(pair(n), "PromptCompletion", f"r:{n}") for n in range(200)]
    before = {r.place for r in split(made[:100], 0.2)[1]}
    after = {r.place for r in split(made, 0.2)[1]}
    assert before <= after


def test_few_rows_still_hold_one_out_and_equal_prompts_stay_together() -> None:
    made = [read_row(pair(n % 2, str(n)), "PromptCompletion", f"r:{n}") for n in range(4)]
    train, held_out = split(made, 0.0)
    assert len(train) == len(held_out) == 2
    assert not {r.prompt_key() for r in train} & {r.prompt_key() for r in held_out}


def test_the_digest_tells_rows_apart_and_ignores_where_they_lie(rows: Rows) -> None:
    one = rows.check(rows.file("a.jsonl", pair(1), pair(2)), rows.file("e.jsonl", pair(3)))
    same = rows.check(rows.file("b.jsonl", "", pair(1), pair(2)), rows.file("f.jsonl", pair(3)))
    other = rows.check(rows.file("c.jsonl", pair(1), pair(2, "no")), rows.file("g.jsonl", pair(3)))
    assert one.digest == same.digest
    assert one.digest != other.digest
