"""What is published says what was trained, or is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer.config import Config
from hearth_trainer.errors import BadConfigError
from hearth_trainer.fit import with_weights_in
from hearth_trainer.stopping import StopRequest
from hearth_trainer.train import train
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

SHORT = {"maxSteps": 4}


def artifacts(config: Config) -> list[Path]:
    root = Path(config.output.path)
    return sorted(root.iterdir()) if root.exists() else []


def said_by(model: Any, folder: Path) -> torch.Tensor:
    ids = AutoTokenizer.from_pretrained(folder)("question 5", return_tensors="pt")
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(**ids).logits
    return logits


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def test_both_artifacts_say_what_the_trained_model_says(job: Job) -> None:
    config = job.config("run", training=SHORT)
    result = train(config, StopRequest())
    adapter, merged = artifacts(config)
    assert [a["kind"] for a in result["artifacts"]] == ["Adapter", "Merged"]
    beside = said_by(PeftModel.from_pretrained(load(job.model), str(adapter)), job.model)
    whole = said_by(load(merged), merged)
    base = said_by(load(job.model), job.model)
    # Weights are stored in bfloat16, which has eight significant bits.
    assert (whole - beside).norm() < 0.01 * beside.norm()
    assert (base - beside).norm() > 0.1 * beside.norm(), "the adapter must be seen"
    assert float(result["logitDifference"]) < 0.01


def test_a_model_that_was_written_wrongly_is_not_published(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    save = LlamaForCausalLM.save_pretrained

    def lose_a_weight(model: LlamaForCausalLM, folder: Path) -> None:
        kept = model.state_dict()
        kept["model.norm.weight"] = torch.ones_like(kept["model.norm.weight"]) * 2
        save(model, folder, state_dict=kept)

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", lose_a_weight)
    config = job.config("run", training=SHORT)
    with pytest.raises(BadConfigError) as caught:
        train(config, StopRequest())
    assert caught.value.kind == "WrittenModelDiffers"
    assert artifacts(config) == []


def test_weights_change_their_type_and_rotary_frequencies_do_not(job: Job) -> None:
    model = load(job.model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    said = said_by(model, job.model)
    assert before, "a model with rotary embeddings has its frequencies in a buffer"
    again = with_weights_in(with_weights_in(model, torch.bfloat16), torch.float32)
    assert all(torch.equal(buffer, before[name]) for name, buffer in again.named_buffers())
    assert torch.equal(said_by(again, job.model), said), "the weights are stored in bfloat16, so nothing is lost"


def test_a_model_that_merging_changed_too_much_is_not_published(job: Job) -> None:
    config = job.config("run", training=SHORT, output={"maxLogitDifference": 1e-12})
    with pytest.raises(BadConfigError) as caught:
        train(config, StopRequest())
    assert (caught.value.kind, artifacts(config)) == ("MergeChangedModel", [])


def test_without_merging_the_adapter_alone_is_published(job: Job) -> None:
    config = job.config("run", training=SHORT, output={"merge": False})
    result = train(config, StopRequest())
    assert [a["kind"] for a in result["artifacts"]] == ["Adapter"]
    assert "logitDifference" not in result
