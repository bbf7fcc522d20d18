"""Rows of the four formats, brought to one shape."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FORMATS = ("Chat", "Instruction", "PromptCompletion", "Text")

ROLES = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str

    def as_json(self) -> dict[str, str]:
        """The turn as chat templates and TRL take it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Row:
    """Something to learn: what comes before, and what the model should say. For Text `prompt` is empty."""

    place: str
    """`file:line`, for messages."""
    prompt: tuple[Message, ...]
    target: str

    def prompt_key(self) -> str:
        """Equal prompts, equal keys; the text itself where there is no prompt."""
        told = [m.as_json() for m in self.prompt] or self.target
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def key(self) -> str:
        """Equal rows, equal keys."""
        return hashlib.sha256(f"{self.prompt_key()}\n{self.target}".encode()).hexdigest()


class RowError(ValueError):
    """A row that does not have the fields of its format: what was found and what was expected."""


def detect(record: dict[str, Any]) -> str:
    """The format that a record is written in.

    Raises RowError where it is none of the four.
    """
    if "messages" in record:
        return "Chat"
    if "instruction" in record and "output" in record:
        return "Instruction"
    if "prompt" in record and "completion" in record:
        return "PromptCompletion"
    if "text" in record:
        return "Text"
    raise RowError(
        f"no known format has the fields {_fields(record)}; expected messages (Chat), instruction and output "
        "(Instruction), prompt and completion (PromptCompletion) or text (Text)"
    )


def read_row(record: dict[str, Any], layout: str, place: str) -> Row:
    """The row of a record in the given format.

    Raises RowError where a field is missing or is no text.
    """
    return _READERS[layout](record, place)


def _fields(record: dict[str, Any]) -> str:
    return ", ".join(sorted(record)[:8]) or "(none)"


def _text(record: dict[str, Any], field: str, layout: str) -> str:
    if field not in record:
        raise RowError(f"field {field} is missing; {layout} rows need it, found {_fields(record)}")
    value = record[field]
    if not isinstance(value, str):
        raise RowError(f"field {field} is {type(value).__name__}; expected text")
    return value


def _chat(record: dict[str, Any], place: str) -> Row:
    messages = record.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RowError("messages must be a list with at least one turn")
    turns = tuple(_turn(item, at) for at, item in enumerate(messages, start=1))
    if turns[-1].role != "assistant":
        raise RowError(f"the last message is by {turns[-1].role}; expected assistant, whose answer is what is learnt")
    if len(turns) == 1:
        # Nothing would be asked: the model's template could not open such a turn, nor the row be measured by answers.
        raise RowError("messages holds only the answer; expected a turn before it, or the format Text for plain text")
    return Row(place, turns[:-1], turns[-1].content)


def _turn(item: object, number: int) -> Message:
    if not isinstance(item, dict) or not isinstance(item.get("role"), str) or not isinstance(item.get("content"), str):
        raise RowError(f"message {number} needs role and content, both text")
    if item["role"] not in ROLES:
        raise RowError(f"message {number} has role {item['role'][:40]!r}; expected one of {', '.join(ROLES)}")
    return Message(item["role"], item["content"])


def _instruction(record: dict[str, Any], place: str) -> Row:
    asked = _text(record, "instruction", "Instruction")
    given = _text(record, "input", "Instruction") if record.get("input") else ""
    prompt = f"{asked}\n\n{given}" if given else asked
    return Row(place, (Message("user", prompt),), _text(record, "output", "Instruction"))


def _prompt_completion(record: dict[str, Any], place: str) -> Row:
    prompt = _text(record, "prompt", "PromptCompletion")
    return Row(place, (Message("user", prompt),), _text(record, "completion", "PromptCompletion"))


def _plain(record: dict[str, Any], place: str) -> Row:
    return Row(place, (), _text(record, "text", "Text"))


_READERS: dict[str, Callable[[dict[str, Any], str], Row]] = {
    "Chat": _chat,
    "Instruction": _instruction,
    "PromptCompletion": _prompt_completion,
    "Text": _plain,
}
