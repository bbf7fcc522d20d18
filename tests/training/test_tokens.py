"""Rows are counted, checked and measured in the tokens that TRL trains on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer.fit import load_model, load_tokenizer
from hearth_trainer.measure import measure
from hearth_trainer.parity import Parity
from hearth_trainer.prepare import load_dataset
from hearth_trainer.stopping import StopRequest
from hearth_trainer.tokens import load_row_tokenizer
from tiny_model import TEMPLATE, make

BEGIN = "<|endoftext|>"
END = "<|im_end|>"
BEGINS = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": BEGIN, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
    "special_tokens": {BEGIN: {"id": BEGIN, "ids": [0], "tokens": [BEGIN]}},
}
"""As tokenizer.json of Gemma and Llama 3 has it."""
PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(3)]
TEXTS = [{"text": f"question {n} and answer {n}"} for n in range(3)] + [{"text": f"ends already{END}"}]


def change(path: Path, **told: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | told))


def folder_of(folder: Path, template: str | None, begins: dict[str, Any] | None, **told: Any) -> Path:
    """A model with this chat template, whose tokenizer begins a text so, and has this in its configuration."""
    make(folder, torch.float32)
    change(folder / "tokenizer.json", post_processor=begins)
    change(folder / "tokenizer_config.json", bos_token=BEGIN, **told)
    (folder / "chat_template.jinja").unlink()
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def dataset_of(job: Job, rows: list[dict[str, str]]) -> dict[str, Any]:
    path = job.folder / "these.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    source = {"path": str(path), "source": "configMap://rows/these.jsonl"}
    return {"train": source, "eval": source, "checks": {"leakage": "Warn"}}


CASES = {
    "chat": (TEMPLATE, None, PAIRS),
    "chat where texts begin with a token": (TEMPLATE, BEGINS, PAIRS),
    "text with a chat template": (TEMPLATE, BEGINS, TEXTS),
    "no chat template": (None, None, PAIRS),
    "no chat template where texts begin with a token": (None, BEGINS, PAIRS),
    "text": (None, BEGINS, TEXTS),
}


@pytest.mark.parametrize("told", [{}, {"add_bos_token": False}], ids=["", "with a setting that is not heard"])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_the_tokens_that_are_trained_on(job: Job, tmp_path: Path, case: str, told: dict[str, Any]) -> None:
    template, begins, rows = CASES[case]
    job.model = folder_of(tmp_path / "model", template, begins, **told)
    config, texts = job.config("run", dataset=dataset_of(job, rows)), load_row_tokenizer(job.model)
    checked, trained = load_dataset(config).train, job.trainer(config).train_dataset
    assert [texts.ids(row)[1] for row in checked] == list(trained["input_ids"])
    learnt = [sum(label != -100 for label in labels) for labels in trained["labels"]]
    assert [texts.length(row).target for row in checked] == learnt


@pytest.mark.parametrize(
    ("case", "begun"), [("chat where texts begin with a token", False), ("text", True), (list(CASES)[4], True)]
)
@pytest.mark.parametrize("drafting", [True, False], ids=["drafted", "written"])
def test_what_is_measured_begins_as_what_is_trained_on(
    job: Job, tmp_path: Path, case: str, begun: bool, drafting: bool
) -> None:
    template, begins, rows = CASES[case]
    job.model = folder_of(tmp_path / "model", template, begins)
    texts, tokenizer = load_row_tokenizer(job.model), load_tokenizer(job.model)
    held_out = load_dataset(job.config("run", dataset=dataset_of(job, rows))).held_out
    model = load_model(job.model, torch.float32)
    if not drafting:
        model.generation_config.repetition_penalty = 1.1
    firsts: list[str] = []

    def seen(_module: Any, _positional: Any, named: dict[str, Any]) -> None:
        ids, mask, cache = named["input_ids"], named["attention_mask"], named.get("past_key_values")
        if cache is None or not cache.get_seq_length():  # the beginning, not what is added to it
            kept = torch.ones_like(ids) if mask is None else mask
            firsts.extend(tokenizer.decode(row[there.argmax()]) for row, there in zip(ids, kept, strict=True))

    model.get_decoder().register_forward_pre_hook(seen, with_kwargs=True)
    measure(model, tokenizer, texts, held_out, ("ExactMatch", "Loss"), StopRequest())
    Parity(tokenizer, texts, held_out, 1.0).said_by(model)
    assert len(firsts) >= 2 * len(rows)
    assert {first == BEGIN for first in firsts} == {begun}
