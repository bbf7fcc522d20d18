"""The four formats, and rows that are none of them."""

from typing import Any

import pytest
from hearth_trainer.rows import Message, RowError, detect, read_row

ASKED = (Message("user", "Who?"),)


@pytest.mark.parametrize(
    ("record", "layout"),
    [
        ({"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me"}]}, "Chat"),
        ({"instruction": "Who?", "output": "Me"}, "Instruction"),
        ({"instruction": "Who?", "input": "", "output": "Me"}, "Instruction"),
        ({"prompt": "Who?", "completion": "Me"}, "PromptCompletion"),
    ],
)
def test_every_format_with_a_prompt_becomes_the_same_row(record: dict[str, Any], layout: str) -> None:
    assert detect(record) == layout
    row = read_row(record, layout, "rows.jsonl:1")
    assert (row.prompt, row.target) == (ASKED, "Me")


def test_plain_text_is_all_target() -> None:
    record = {"text": "Once upon a time"}
    row = read_row(record, detect(record), "rows.jsonl:1")
    assert (row.prompt, row.target) == ((), "Once upon a time")


def test_the_input_of_an_instruction_follows_it() -> None:
    row = read_row({"instruction": "Translate", "input": "chat", "output": "cat"}, "Instruction", "r:1")
    assert row.prompt[0].content == "Translate\n\nchat"


@pytest.mark.parametrize(
    ("record", "layout", "complaint"),
    [
        ({"prompt": "Who?"}, "PromptCompletion", "field completion is missing"),
        ({"prompt": "Who?", "completion": 3}, "PromptCompletion", "field completion is int; expected text"),
        ({"messages": []}, "Chat", "at least one turn"),
        ({"messages": [{"role": "user", "content": "Who?"}]}, "Chat", "the last message is by user"),
        ({"messages": [{"role": "assistant", "content": "Me"}]}, "Chat", "only the answer; expected a turn before it"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "Chat", "has role 'robot'; expected one of system, user"),
        ({"messages": [{"role": "assistant"}]}, "Chat", "message 1 needs role and content"),
    ],
)
def test_a_row_that_does_not_fit_says_what_was_expected(record: dict[str, Any], layout: str, complaint: str) -> None:
    with pytest.raises(RowError, match=complaint):
        read_row(record, layout, "rows.jsonl:1")


def test_an_unknown_format_names_the_fields_it_found() -> None:
    with pytest.raises(RowError, match="no known format has the fields answer, question"):
        detect({"question": "Who?", "answer": "Me"})
