"""Figures of merit over held-out rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HIGHER_IS_BETTER = {"ExactMatch": True, "JSONValid": True, "JSONFieldF1": True, "Loss": False}


Path = tuple[str | int, ...]
"""Keys of objects, and places in lists, from the outside in."""


def parsed_object(text: str) -> dict[str, Any] | None:
    """The JSON object that a text consists of, or None."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    """NaN, Infinity and -Infinity are Python's, not JSON's (RFC 8259, section 6)."""
    raise ValueError(constant)


def fields(value: object, path: Path = ()) -> set[tuple[Path, str, str]]:
    """The leaves of a JSON value: path, kind and what is there. Lists are compared in order.

    An object or list without anything in it is a leaf too. A number is the text of its digits: whether it stands in
    quotes is not judged (docs/fine-tuning.md).
    """
    if isinstance(value, dict) and value:
        return {leaf for key, item in value.items() for leaf in fields(item, (*path, key))}
    if isinstance(value, list) and value:
        return {leaf for at, item in enumerate(value) for leaf in fields(item, (*path, at))}
    if isinstance(value, str):
        return {(path, "text", value.strip())}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {(path, "text" if number else "literal", json.dumps(value))}


def field_f1(target: dict[str, Any], answer: dict[str, Any] | None) -> float:
    """F1 over the fields of one object: 1 where all are right and none is added, 0 for an answer that is no object."""
    wanted = fields(target)
    given = fields(answer) if answer is not None else set()
    return 2 * len(wanted & given) / (len(wanted) + len(given))


def is_settled(target: str, begun: str) -> bool:
    """Whether an answer that begins like this scores nothing, however it goes on.

    It is not the target then, and no JSON object where one is wanted.
    """
    said = begun.strip()
    if not said or said.endswith("\N{REPLACEMENT CHARACTER}"):  # half of a letter, so far
        return False
    if target.strip().startswith(said):
        return False
    return not said.startswith("{") or parsed_object(target) is None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an answer is compared with."""

    target: str
    lead: str = ""
    """What the chat template has the model say before it, as a client sees it: `<think>\\n\\n</think>\\n\\n`, say."""

    def answer(self, said: str) -> str:
        """What was said behind the lead: all of it where the lead was left out, nothing while it is not over."""
        lead, text = self.lead.strip(), said.lstrip()
        if text.startswith(lead):
            return text.removeprefix(lead)
        return "" if lead.startswith(text.rstrip()) else said

    def is_settled(self, begun: str) -> bool:
        """Whether what begins like this scores nothing, however it goes on."""
        return is_settled(self.target, self.answer(begun))


def score(targets: Sequence[str], answers: Sequence[str]) -> dict[str, float]:
    """Every metric that comes from answers. The JSON metrics are absent where no target is a JSON object."""
    pairs = list(zip(targets, answers, strict=True))
    figures = {"ExactMatch": sum(t.strip() == a.strip() for t, a in pairs) / len(pairs)}
    objects = [(parsed_object(t), parsed_object(a)) for t, a in pairs]
    judged = [(t, a) for t, a in objects if t is not None]
    if judged:
        figures["JSONValid"] = sum(a is not None for _, a in judged) / len(judged)
        figures["JSONFieldF1"] = sum(field_f1(t, a) for t, a in judged) / len(judged)
    return figures
