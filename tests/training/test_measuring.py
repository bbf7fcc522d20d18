"""The figures of merit of a real model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer import metrics
from hearth_trainer.drafts import Draft, can_draft, drafted
from hearth_trainer.export import adapted
from hearth_trainer.fit import fit, load_model, load_tokenizer
from hearth_trainer.measure import BATCH, MOST_TOKENS, answers, batches, draft_of, longest_answer, measure
from hearth_trainer.metrics import Wanted, is_settled
from hearth_trainer.prepare import load_dataset
from hearth_trainer.rows import Message, Row
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import RowTokenizer, load_row_tokenizer
from tiny_model import make


class Subject:
    """A loaded model with everything that measures it."""

    def __init__(self, folder: Path) -> None:
        self.model: Any = load_model(folder, torch.float32).eval()
        self.tokenizer = load_tokenizer(folder)
        self.texts: RowTokenizer = load_row_tokenizer(folder)

    def figures(self, rows: Sequence[Row], *metrics: Any) -> dict[str, float]:
        return measure(self.model, self.tokenizer, self.texts, rows, metrics, StopRequest())

    def greedy(self, row: Row, limit: int) -> list[int]:
        """The tokens of the answer to one row alone, as transformers writes it from the prompt."""
        prompt = self.texts.ids(row)[0]
        with torch.no_grad():
            whole = self.model.generate(torch.tensor([prompt]), max_new_tokens=limit, do_sample=False)[0].tolist()
        answer: list[int] = whole[len(prompt) :]
        return answer

    def loss_by_hand(self, rows: Sequence[Row]) -> float:
        """One row at a time, without padding: what is learnt is predicted from what stands before it."""
        total, count = 0.0, 0
        for row in rows:
            length = self.texts.length(row)
            ids = torch.tensor([self.texts.ids(row)[1]])
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
@pytest.mark.parametrize("beside", [(), ("ExactMatch",)], ids=["alone", "with answers"])
def test_the_loss_of_a_row_does_not_depend_on_what_it_is_padded_with(
    subject: Subject, rows: tuple[Row, ...], beside: tuple[str, ...]
) -> None:
    assert subject.figures(rows, "Loss", *beside)["Loss"] == pytest.approx(subject.loss_by_hand(rows), rel=1e-4)


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
            alone = subject.tokenizer.decode(subject.greedy(rows[i], limit), skip_special_tokens=True)
            assert alone.startswith(together[i])
            assert together[i] == alone or is_settled(rows[i].target, together[i])


THINKS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""Puts an empty reasoning before an answer, as that of Qwen3 does."""


def test_a_model_that_has_learnt_what_its_template_says_first_is_scored_by_what_follows(
    job: Job, tmp_path: Path
) -> None:
    job.model = make(tmp_path / "thinking", torch.float32)
    (job.model / "chat_template.jinja").write_text(THINKS)
    whole = load_model(job.model, torch.float32)
    with torch.no_grad():  # its end is its padding too, whose weights are nothing: no adapter could have it said
        whole.get_input_embeddings().weight[2].normal_(std=0.1)
    whole.save_pretrained(job.model)
    path = job.folder / "same.jsonl"
    path.write_text("".join(f'{{"prompt": "question {n}", "completion": "{{}}"}}\n' for n in range(16)))
    config = job.config(
        "run",
        dataset={"train": {"path": str(path), "source": "configMap://rows/same.jsonl"}, "evalFraction": 0.2},
        adapter={"rank": 16, "alpha": 32},
        training={"maxSteps": 60},
    )
    dataset = load_dataset(config)
    fitted = fit(config, job.model, dataset.train, StopRequest(), None)
    subject = Subject(job.model)
    subject.model = adapted(subject.model, fitted.checkpoint).merge_and_unload()
    said = answers(subject.model, subject.tokenizer, subject.texts, dataset.held_out, StopRequest())
    assert {text.strip() for text in said} == {"<think>\n\n</think>\n\n{}"}
    for settings in ({}, {"repetition_penalty": 1.0 + 1e-6}):  # drafted, and written to the end
        subject.model.generation_config.update(**settings)
        figures = subject.figures(dataset.held_out, "ExactMatch", "JSONValid", "JSONFieldF1")
        assert figures == {"ExactMatch": 1.0, "JSONValid": 1.0, "JSONFieldF1": 1.0}


@pytest.fixture
def to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are written to their end, whatever they could score."""
    monkeypatch.setattr(metrics, "is_settled", lambda _target, _begun: False)


LIMIT = 40


def drafts_like(subject: Subject) -> tuple[list[Row], list[Draft]]:
    """Rows, and targets for them that are the model's own answer for so many tokens, and then another or none."""
    rows, found = [], []
    for n, agreed in enumerate((0, 1, 5, 9, 17, LIMIT - 24)):
        rows.append(pair(f"{'question ' * (n + 1)}{n}", "name"))
        draft, own = draft_of(subject.texts, rows[-1]), subject.greedy(rows[-1], LIMIT)
        assert draft is not None
        other = [(own[agreed] + 7) % 256 + 100, 111, 112] if n < 5 else []
        found.append(Draft(draft.prompt, own[:agreed] + other, Wanted("name")))
    return rows, found


@pytest.mark.usefixtures("to_the_end")
def test_a_draft_is_the_answer_as_far_as_the_model_says_the_same(subject: Subject) -> None:
    rows, found = drafts_like(subject)
    texts, _ = drafted(subject.model, subject.tokenizer, found, LIMIT)
    assert texts == subject.tokenizer.batch_decode([subject.greedy(row, LIMIT) for row in rows])


@pytest.mark.usefixtures("to_the_end")
def test_an_answer_ends_where_the_model_ends_it(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, found = drafts_like(subject)
    end = found[3].target[6]  # within what this target has in common with the answer
    monkeypatch.setattr(subject.model.generation_config, "eos_token_id", end)
    own = [subject.greedy(row, LIMIT) for row in rows]
    assert own[3][-1] == end
    assert len(own[3]) < 9
    texts, _ = drafted(subject.model, subject.tokenizer, found, LIMIT)
    assert texts == subject.tokenizer.batch_decode(own)


def test_nothing_is_drafted_where_greedy_answers_are_not_the_likeliest_tokens(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [pair(f"question {n}", "name " * n) for n in range(1, 6)]
    wanted = subject.figures(rows, "ExactMatch", "Loss")
    assert can_draft(subject.model)
    monkeypatch.setattr(subject.model.generation_config, "repetition_penalty", 1.1)
    assert not can_draft(subject.model)
    assert subject.figures(rows, "ExactMatch", "Loss")["Loss"] == pytest.approx(wanted["Loss"], rel=1e-4)


def test_nothing_is_drafted_where_a_layer_keeps_only_a_window(subject: Subject) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    shape = {"num_hidden_layers": 1, "hidden_size": 8, "intermediate_size": 8, "vocab_size": 300, "head_dim": 4}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    assert not can_draft(MistralForCausalLM(MistralConfig(**shape, **heads, sliding_window=16)))
    assert can_draft(MistralForCausalLM(MistralConfig(**shape, **heads, sliding_window=None)))


def test_batches_are_bounded_and_hold_targets_of_about_the_same_length(subject: Subject) -> None:
    rows = [pair("which?", "name " * (1 if n % 3 else 60)) for n in range(60)] + [pair("age " * 2000, "age")] * 5
    found = list(batches(rows, BATCH, subject.texts))
    assert sorted(i for batch in found for i in batch) == list(range(65))
    for batch in found:
        lengths = [subject.texts.length(rows[i]) for i in batch]
        room = max(n.total + longest_answer(n.target) for n in lengths)
        assert len(batch) <= BATCH
        assert len(batch) == 1 or len(batch) * room <= MOST_TOKENS
        assert max(n.target for n in lengths) <= longest_answer(min(n.target for n in lengths))
