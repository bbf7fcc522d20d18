"""Text is cut at the widest boundary that fits, and nothing is lost."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hearth_indexer.split import Piece, pieces, windows
from hypothesis import given
from hypothesis import strategies as st


def words(text: str) -> int:
    """A tokenizer for people: one word, one token."""
    return len(text.split())


@pytest.mark.parametrize(
    ("text", "budget", "expected"),
    [
        ("one two three", 3, ["one two three"]),
        ("a b\n\nc d", 2, ["a b\n\n", "c d"]),
        ("a b\nc d", 2, ["a b\n", "c d"]),
        ("One two. Three four.", 2, ["One two. ", "Three four."]),
        ("one two, three four", 2, ["one two, ", "three four"]),
        ("one two three", 1, ["one ", "two ", "three"]),
    ],
)
def test_the_widest_boundary_that_fits_is_used(text: str, budget: int, expected: list[str]) -> None:
    assert [p.text for p in pieces(text, budget, words)] == expected


def test_a_word_longer_than_the_budget_is_cut_between_letters() -> None:
    cut = [p.text for p in pieces("x" * 100, 10, lambda text: len(text.strip()))]

    assert "".join(cut) == "x" * 100
    assert all(len(part) <= 10 for part in cut)


@given(st.text(alphabet="ab .,\n", max_size=200), st.integers(1, 8))
def test_the_pieces_joined_are_the_text(text: str, budget: int) -> None:
    cut = list(pieces(text, budget, words))

    assert "".join(p.text for p in cut) == text
    assert all(p.tokens <= budget for p in cut)


@given(st.lists(st.integers(0, 10), max_size=40), st.integers(10, 30), st.integers(0, 9))
def test_windows_hold_every_piece_within_the_size(lengths: list[int], size: int, overlap: int) -> None:
    parts = [Piece("x", n) for n in lengths]
    found = list(windows(parts, size, overlap))

    assert {i for start, end in found for i in range(start, end)} == set(range(len(parts)))
    assert all(sum(p.tokens for p in parts[start:end]) <= size for start, end in found)
    assert all(before[1] < after[1] for before, after in pairwise(found))


def test_a_window_repeats_the_end_of_the_one_before() -> None:
    parts = [Piece(c, 1) for c in "abcdefg"]

    assert list(windows(parts, 4, 2)) == [(0, 4), (2, 6), (4, 7)]


def signs_are_dense(text: str) -> int:
    """A tokenizer that takes eight letters for a token, and each other sign: minified JSON has stretches of both."""
    return sum((len(word) + 7) // 8 for word in re.findall(r"[a-z]+", text)) + len(re.findall(r"[^a-z\s]", text))


@given(st.lists(st.sampled_from(["a" * 80, "{[:,", "漢字", "x", "}", "12"]), max_size=60), st.integers(1, 12))
def test_no_part_of_a_word_is_longer_than_the_budget_however_unevenly_its_tokens_lie(
    parts: list[str], budget: int
) -> None:
    cut = list(pieces("".join(parts), budget, signs_are_dense))

    assert "".join(p.text for p in cut) == "".join(parts)
    assert all(signs_are_dense(p.text) == p.tokens <= budget for p in cut)
