"""`include` and `exclude` mean the same for rows and for documents."""

from fnmatch import fnmatch
from pathlib import Path

import pytest
from hearth_indexer.sources import chosen as chosen_by_the_indexer
from hearth_trainer.config import SourceConfig
from hearth_trainer.errors import BadDataError
from hearth_trainer.globs import hub_patterns, matches
from hearth_trainer.sources import data_files
from hypothesis import example, given
from hypothesis import strategies as st

FILES = ("a.jsonl", "notes.txt", "old/b.jsonl", "old/deep/c.jsonl", "old/d.json", ".hidden/e.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path


@pytest.mark.parametrize(
    ("include", "exclude", "taken"),
    [
        ([], [], ["a.jsonl", "old/b.jsonl", "old/d.json", "old/deep/c.jsonl"]),
        (["**/*.jsonl"], [], ["a.jsonl", "old/b.jsonl", "old/deep/c.jsonl"]),
        (["*.jsonl"], [], ["a.jsonl", "old/b.jsonl", "old/deep/c.jsonl"]),
        (["old/*.jsonl"], [], ["old/b.jsonl"]),
        (["old/**"], ["*.json"], ["old/b.jsonl", "old/deep/c.jsonl"]),
        (["/*.jsonl"], [], ["a.jsonl"]),
        ([], ["old/**"], ["a.jsonl"]),
        (["*.txt"], [], ["notes.txt"]),
    ],
)
def test_globs_choose_files(folder: Path, include: list[str], exclude: list[str], taken: list[str]) -> None:
    source = SourceConfig(path=str(folder), source="pvc://rows", include=tuple(include), exclude=tuple(exclude))
    assert [p.relative_to(folder).as_posix() for p in data_files(source)] == taken


def test_globs_that_choose_nothing_are_told(folder: Path) -> None:
    source = SourceConfig(path=str(folder), source="pvc://rows", include=("*.parquet",))
    with pytest.raises(BadDataError, match="include and exclude let through"):
        data_files(source)


paths = st.lists(st.text("ab.[", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)
patterns = st.lists(st.sampled_from(["a", "b", ".", "*", "**", "?", "/", "**/", "["]), min_size=1, max_size=7).map(
    "".join
)


@given(path=paths, pattern=patterns)
def test_a_pattern_means_the_same_to_the_indexer(path: str, pattern: str) -> None:
    assert matches(path, pattern) == chosen_by_the_indexer(path, [pattern], [])


@given(path=paths, pattern=patterns)
@example(path="a", pattern="****/")
def test_what_a_pattern_chooses_is_fetched_from_the_hub(path: str, pattern: str) -> None:
    if matches(path, pattern):
        assert any(fnmatch(path, p) for p in hub_patterns([pattern]))
