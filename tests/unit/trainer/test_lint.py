"""What the linter counts, and what it refuses."""

import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hearth_trainer.config import ChecksConfig, DatasetConfig, SourceConfig
from hearth_trainer.errors import BadDataError
from hearth_trainer.lint import lint
from hearth_trainer.prepare import Dataset
from hearth_trainer.rows import Row
from hearth_trainer.split import Split
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
        kept: dict[bool, list[Row]] = {False: [], True: []}
        files = [train], [held_out] if held_out else None
        summary = lint(dataset, *files, measure, CONTEXT, lambda row, held: kept[held].append(row))
        return Dataset(summary, tuple(kept[False]), tuple(kept[True]))

    def refused(self, *args: Any, **config: Any) -> BadDataError:
        with pytest.raises(BadDataError) as caught:
            self.check(*args, **config)
        return caught.value


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return Rows(tmp_path)


def test_good_rows_are_counted(rows: Rows) -> None:
    found = rows.check(rows.file("t.jsonl", *map(pair, range(10))), rows.file("e.jsonl", pair(99)))
    told = found.summary
    assert (told.layout, told.train_rows, told.eval_rows) == ("PromptCompletion", 10, 1)
    assert (len(found.train), len(found.held_out)) == (10, 1)
    assert (told.train_tokens, told.longest_row, told.longest_target) == (40, 4, 1)
    assert told.findings.as_json() == []


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
def test_a_line_that_is_not_utf8_is_named_and_how_to_convert_it(rows: Rows, name: str) -> None:
    path = rows.folder / name
    lines = [json.dumps(pair(1)), json.dumps(pair(2, "Müller"), ensure_ascii=False)]
    text = "\n".join(lines) if name == "t.jsonl" else f"[{lines[0]},\n{lines[1]}]"
    path.write_bytes(text.encode("latin-1"))
    error = rows.refused(path)
    assert (error.kind, error.exit_code) == ("MalformedRow", 65)
    assert f"{name}:2 (the first: not UTF-8 (byte 0xfc at column 42)" in error.message
    assert f"iconv -f ISO-8859-1 -t UTF-8 {name}" in error.message


def test_a_file_in_utf16_is_told_as_one(rows: Rows) -> None:
    path = rows.folder / "t.jsonl"
    path.write_text(f"{json.dumps(pair(1))}\n", encoding="utf-16")
    assert "iconv -f UTF-16 -t UTF-8 t.jsonl" in rows.refused(path).message


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (json.dumps(pair(1, "\ud800")), "half of a surrogate pair"),
        (f'{{"prompt": {"9" * 5000}}}', "not readable"),
        ("[1, 2]", "expected a JSON object, found [1, 2]"),
    ],
)
@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_what_python_reads_and_is_no_row_is_named(rows: Rows, name: str, line: str, wrong: str) -> None:
    path = rows.file(name, line) if name == "t.jsonl" else rows.file(name, f"[{line}]")
    error = rows.refused(path)
    assert error.kind == "MalformedRow"
    assert f"{name}:1 (the first: " in error.message
    assert wrong in error.message


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (
            '[{"prompt": "a", "completion": "b"} {"prompt": "c"}]',
            "t.json:1 (the first: not JSON (Expecting ',' delimiter at column 37",
        ),
        ('[{"prompt": "a", "completion": "b"},', "t.json:2 (the first: not JSON (Expecting value at column 1"),
        ('[{"prompt": "a", "completion": "b"}] more', "t.json:1 (the first: not JSON (Extra data at column 38"),
    ],
)
def test_a_broken_array_is_named_where_it_breaks(rows: Rows, text: str, broken: str) -> None:
    error = rows.refused(rows.file("t.json", text))
    assert f"1 of 2 lines are broken: {broken}" in error.message


@pytest.mark.parametrize("text", ["[ {0} , {1} ]", "[{0},{1}]", "\n[\n{0},\n{1}\n]\n"])
def test_an_array_gives_its_elements(rows: Rows, text: str) -> None:
    both = [json.dumps(pair(n)) for n in range(2)]
    found = rows.check(
        rows.file("t.json", text.replace("{0}", both[0]).replace("{1}", both[1])), rows.file("e.json", pair(9))
    )
    assert [r.place for r in (*found.train, *found.held_out)] == ["t.json:1", "t.json:2", "e.json:1"]


def test_an_array_of_nothing_holds_no_rows(rows: Rows) -> None:
    assert rows.refused(rows.file("t.json", "[ ]")).kind == "EmptyDataset"


def test_rows_are_not_held_while_they_are_checked(rows: Rows) -> None:
    path = rows.file("t.jsonl", *(pair(n, "x" * 8000) for n in range(400)), pair(0, "twice"), pair(0, "twice"))
    dataset = DatasetConfig(train=SourceConfig(path=str(path), source="configMap://rows/train.jsonl"))
    tracemalloc.start()
    try:
        found = lint(dataset, [path], None, measure, CONTEXT, lambda _row, _held: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.findings.count("duplicates") == 1
    assert path.stat().st_size > 3_000_000
    assert peak < 1_000_000


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
    assert found.summary.findings.as_json() == [{"check": "duplicates", "count": 1, "lines": ["t.jsonl:2"]}]


def test_leakage_is_refused_unless_allowed(rows: Rows) -> None:
    files = rows.file("t.jsonl", pair(1), pair(2)), rows.file("e.jsonl", pair(2, "no"))
    assert rows.refused(*files).kind == "Leakage"
    found = rows.check(*files, checks=ChecksConfig(leakage="Warn"))
    assert found.summary.findings.count("leakage") == 1


def test_empty_targets_are_refused_or_left_out(rows: Rows) -> None:
    files = rows.file("t.jsonl", pair(1), pair(2, "  ")), rows.file("e.jsonl", pair(3))
    assert rows.refused(*files).kind == "EmptyTargets"
    assert len(rows.check(*files, checks=ChecksConfig(empty_targets="Warn")).train) == 1


def test_rows_longer_than_the_context_are_left_out_up_to_a_share(rows: Rows) -> None:
    long = {"prompt": "word " * 60, "completion": "yes"}
    files = rows.file("t.jsonl", *map(pair, range(19)), long), rows.file("e.jsonl", pair(99))
    found = rows.check(*files)
    assert len(found.train) == 19
    assert found.summary.findings.count("tooLong") == 1
    error = rows.refused(*files, checks=ChecksConfig(max_truncated_percent=1))
    assert error.kind == "RowsTooLong"
    assert "1 of 21 rows are longer than 50 tokens" in error.message


def keys(count: int) -> list[str]:
    """What prompts are told apart by."""
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]


def held_out(prompt_keys: list[str], fraction: float) -> set[str]:
    split = Split(fraction)
    for key in prompt_keys:
        split.see(key)
    return {key for key in prompt_keys if split.holds_out(key)}


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    assert held_out(keys(200), 0.1) == held_out(keys(200)[::-1], 0.1)
    assert 8 <= len(held_out(keys(200), 0.1)) <= 32


def test_a_row_added_later_moves_no_other_row_to_the_other_side() -> None:
    assert held_out(keys(100), 0.2) <= held_out(keys(200), 0.2)


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (9, 1)])
def test_of_several_prompts_at_least_one_is_held_out(count: int, held: int) -> None:
    assert len(held_out(keys(count) * 2, 0.0)) == held


def test_rows_with_equal_prompts_stay_together(rows: Rows) -> None:
    found = rows.check(rows.file("t.jsonl", *(pair(n % 2, str(n)) for n in range(4))), eval_fraction=0.0)
    assert len(found.train) == len(found.held_out) == 2
    assert not {r.prompt_key() for r in found.train} & {r.prompt_key() for r in found.held_out}


def test_the_digest_tells_rows_apart_and_ignores_where_they_lie(rows: Rows) -> None:
    one = rows.check(rows.file("a.jsonl", pair(1), pair(2)), rows.file("e.jsonl", pair(3)))
    same = rows.check(rows.file("b.jsonl", "", pair(1), pair(2)), rows.file("f.jsonl", pair(3)))
    other = rows.check(rows.file("c.jsonl", pair(1), pair(2, "no")), rows.file("g.jsonl", pair(3)))
    assert one.summary.digest == same.summary.digest
    assert one.summary.digest != other.summary.digest
