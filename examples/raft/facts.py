"""What invented institutions write in their rules: topics, sentences with a gap for a value, and questions about it.

The texts lie in `facts.json`. Every sentence has one `{v}`; its questions ask for exactly that value. `{p}` stands for
the people the rules are for (crew, pupils, volunteers…), `{w}` for the place (ship, garden, orchestra…); `{product}`,
`{town}` and `{thing}` for what the fact is about. Museums, ships and villages were chosen because a company handbook
shares no fact with them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fact:
    """A sentence with a gap, what kind of value fills it, and ways to ask for the value."""

    kind: str
    sentence: str
    questions: tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """Facts that stand together under one of these headings."""

    headings: tuple[str, ...]
    facts: tuple[Fact, ...]


def _topic(item: dict[str, list[dict[str, str]]]) -> Topic:
    facts = (Fact(f["kind"], f["sentence"], tuple(f["questions"])) for f in item["facts"])
    return Topic(tuple(map(str, item["headings"])), tuple(facts))


_TEXTS = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
TOPICS: tuple[Topic, ...] = tuple(_topic(item) for item in _TEXTS["topics"])
FILLERS: tuple[str, ...] = tuple(_TEXTS["fillers"])
"""Sentences without a fact that stand between the others."""
WORDS: dict[str, tuple[str, ...]] = {kind: tuple(words) for kind, words in _TEXTS["words"].items()}
"""Names and things to draw from, by kind."""
