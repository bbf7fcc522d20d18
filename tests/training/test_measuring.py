"""The figures of merit of a real model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hearth_trainer.fit import load_model, load_tokenizer
from hearth_trainer.measure import loss
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
