"""The figures of merit of a real model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hearth_trainer.fit import load_model, load_tokenizer
from hearth_trainer.measure import BATCH, MOST_TOKENS, answers, batches, longest_answer, loss, measure
from hearth_trainer.rows import Message, Row
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import RowTokenizer, load_row_tokenizer


class Subject:
    """A loaded model with everything that measures it."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = load_model(folder, torch.float32).eval()
        self.tokenizer = load_tokenizer(folder)
        self.texts: RowTokenizer = load_row_tokenizer(folder)

    def loss(self, *rows: Row) -> float:
        return loss(self.model, self.tokenizer, self.texts, rows, StopRequest())

    def loss_by_hand(self, rows: Sequence[Row]) -> float:
        """One row at a time, without padding: what is learnt is predicted from what stands before it."""
        total, count = 0.0, 0
        for row in rows:
            length = self.texts.length(row)
            ids = torch.tensor([self.tokenizer(self.texts.texts(row)[1], add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                told = self.model(ids).logits[0, :-1].log_softmax(-1)
            predicted = min(length.target, length.total - 1)
            each = -told.gather(1, ids[0, 1:, None])[length.total - 1 - predicted :]
            total, count = total + float(each.sum()), count + each.numel()
        return total / count


@pytest.fixture(scope="module")
def subject(model: Path) -> Subject:
    return Subject(model)


def text(content: str) -> Row:
    return Row("t:1", (), content)


def pair(prompt: str, target: str) -> Row:
    return Row("t:1", (Message("user", prompt),), target)


@pytest.mark.parametrize(
    "rows",
    [
        (text("a name and an age"), text("a name"), text("a")),
        (pair("question 1", "answer 1"), pair("a much longer question 2", "age")),
        (pair("question", "a long answer of many words"), text("name")),
    ],
    ids=["text", "pairs", "both"],
)
def test_the_loss_of_a_row_does_not_depend_on_what_it_is_padded_with(subject: Subject, rows: tuple[Row, ...]) -> None:
    assert subject.loss(*rows) == pytest.approx(subject.loss_by_hand(rows), rel=1e-4)


class Scripted:
    """A model that always gives one answer, and goes on as long as it may."""

    device = torch.device("cpu")

    def __init__(self, subject: Subject, answer: str) -> None:
        self.ids = subject.tokenizer(answer, return_tensors="pt", add_special_tokens=False)["input_ids"]
        self.end = subject.tokenizer.eos_token_id

    def eval(self) -> None:
        """Nothing to switch."""

    def generate(self, *, input_ids: torch.Tensor, max_new_tokens: int, **_: Any) -> torch.Tensor:
        padding = torch.full((1, max_new_tokens), self.end)
        answer = torch.cat([self.ids, padding], dim=1)[:, :max_new_tokens]
        return torch.cat([input_ids, answer.expand(len(input_ids), -1)], dim=1)


RECORD = {"court": "Harbour", "case": "HC-12/2031", "parties": ["Ada", "Bob"], "sum": 1200, "won": True}


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (json.dumps(RECORD), 1.0),
        (json.dumps(RECORD, indent=2), 1.0),
        (f"```json\n{json.dumps(RECORD)}\n```", 0.0),
        (json.dumps(RECORD) + " and so on", 0.0),
        (json.dumps(RECORD | {str(n): "more" for n in range(40)}), 0.0),
    ],
    ids=["compact", "pretty", "fenced", "talking on", "endless"],
)
def test_an_answer_has_room_for_line_breaks_but_not_for_everything(subject: Subject, answer: str, valid: float) -> None:
    model = Scripted(subject, answer)
    rows = [pair("which case?", json.dumps(RECORD))]
    figures = measure(model, subject.tokenizer, subject.texts, rows, ("JSONValid", "JSONFieldF1"), StopRequest())
    assert figures == {"JSONValid": valid, "JSONFieldF1": valid}


def test_answers_do_not_depend_on_the_rows_beside_them(subject: Subject) -> None:
    rows = [pair(f"{'question ' * (n % 5 + 1)}{n}", "name " * (1 + 3 * n)) for n in range(12)]
    together = answers(subject.model, subject.tokenizer, subject.texts, rows, StopRequest())
    for batch in batches(rows, BATCH, subject.texts):
        limit = longest_answer(max(subject.texts.length(rows[i]).target for i in batch))
        for i in batch:
            ids = subject.tokenizer(subject.texts.texts(rows[i])[0], return_tensors="pt", add_special_tokens=False)
            with torch.no_grad():
                alone = subject.model.generate(**ids, max_new_tokens=limit, do_sample=False)[0]
            said = subject.tokenizer.decode(alone[len(ids["input_ids"][0]) :], skip_special_tokens=True)
            assert together[i] == said


def test_batches_are_bounded_and_hold_targets_of_about_the_same_length(subject: Subject) -> None:
    rows = [pair("which?", "name " * (1 if n % 3 else 60)) for n in range(60)] + [pair("age " * 2000, "age")] * 5
    found = list(batches(rows, BATCH, subject.texts))
    assert sorted(i for batch in found for i in batch) == list(range(65))
    for batch in found:
        lengths = [subject.texts.length(rows[i]) for i in batch]
        room = max(n.total - n.target + longest_answer(n.target) for n in lengths)
        assert len(batch) <= BATCH
        assert len(batch) == 1 or len(batch) * room <= MOST_TOKENS
        assert max(n.target for n in lengths) <= longest_answer(min(n.target for n in lengths))
