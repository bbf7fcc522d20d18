"""Names and labels of children."""

import re

import pytest
from hearth.render.labels import pod_labels, selector
from hearth.render.names import STATEFUL_SET_LIMIT, child_name, digest8

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize(
    ("owner", "suffix", "expected"),
    [
        ("court", "engine", "court-engine"),
        ("court", "", "court"),
        ("a" * 56, "engine", "a" * 56 + "-engine"),
    ],
)
def test_short_names_are_kept_readable(owner: str, suffix: str, expected: str) -> None:
    assert child_name(owner, suffix) == expected


@pytest.mark.parametrize("owner", ["b" * 57, "b" * 253, "team.court.v1", "-".join(["long"] * 40)])
@pytest.mark.parametrize("limit", [63, STATEFUL_SET_LIMIT])
def test_other_names_are_cut_to_a_valid_label_and_keep_their_suffix(owner: str, limit: int) -> None:
    name = child_name(owner, "engine", limit)
    assert len(name) <= limit
    assert LABEL.fullmatch(name)
    assert name.endswith("-engine")


def test_two_long_names_that_differ_at_their_end_do_not_collide() -> None:
    assert child_name("c" * 70 + "1", "engine") != child_name("c" * 70 + "2", "engine")
    assert child_name("a.b", "engine") != child_name("a-b", "engine")


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest8({"a": 1, "b": 2}) == digest8({"b": 2, "a": 1})
    assert len(digest8({})) == 8


def test_a_selector_is_part_of_the_pod_labels() -> None:
    owner = {"kind": "LLMService", "metadata": {"name": "d" * 80}}
    labels = pod_labels(owner, "engine")
    assert selector(owner, "engine").items() <= labels.items()
    assert all(len(v) <= 63 for v in labels.values())
