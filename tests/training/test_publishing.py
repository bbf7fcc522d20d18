"""What is published says what was trained, or is not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer import export
from hearth_trainer.config import Config
from hearth_trainer.errors import BadConfigError, ModelError
from hearth_trainer.export import adapted, merged
from hearth_trainer.fit import fit, load_model, with_weights_in
from hearth_trainer.full_precision import in_float32, merge_layers
from hearth_trainer.prepare import load_dataset
from hearth_trainer.stopping import StopRequest
from hearth_trainer.train import train
from peft import PeftModel
from safetensors import safe_open
from tiny_model import make
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


@pytest.fixture
def adapter(job: Job) -> Path:
    """A trained adapter, beside which every base weight has been moved."""
    config = job.config("run", training=SHORT | {"learningRate": 0.1})
    return fit(config, job.model, load_dataset(config).train, StopRequest(), None).checkpoint


def test_the_sum_of_base_and_adapter_is_rounded_once(job: Job, adapter: Path) -> None:
    narrow, wide = (load_model(job.model, dtype) for dtype in (torch.bfloat16, torch.float32))
    merge_layers(beside := adapted(narrow, adapter))
    exact = adapted(wide, adapter).merge_and_unload().state_dict()
    whole = beside.unload().state_dict()
    assert {t.dtype for t in whole.values()} == {torch.bfloat16}
    assert all(torch.equal(t, exact[name].to(torch.bfloat16)) for name, t in whole.items())


def test_a_model_in_bfloat16_works_in_float32_and_is_as_before_afterwards(job: Job, adapter: Path) -> None:
    narrow, wide = (adapted(load_model(job.model, d), adapter) for d in (torch.bfloat16, torch.float32))
    before = {name: (t.dtype, t.clone()) for name, t in narrow.state_dict().items()}
    with in_float32(narrow):
        said = said_by(narrow, job.model)
    assert torch.equal(said, said_by(wide, job.model))
    assert all(t.dtype == before[n][0] and torch.equal(t, before[n][1]) for n, t in narrow.state_dict().items())
    assert said_by(narrow, job.model).dtype == torch.bfloat16, "outside it works in its own type"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
def test_the_end_of_a_run_holds_the_weights_as_they_are_stored(
    job: Job, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.model = make(tmp_path / "model", dtype)
    said = json.loads((job.model / "config.json").read_text()) | {"dtype": "float16"}
    (job.model / "config.json").write_text(json.dumps(said))
    config = job.config("run", training=SHORT | {"precision": "BF16"})
    held: list[Any] = []

    def seen(base: Any, *rest: Any) -> Any:
        held.extend(p.dtype for p in base.parameters())
        return merged(base, *rest)

    monkeypatch.setattr(export, "merged", seen)
    train(config, StopRequest())
    assert set(held) == {dtype}
    with safe_open(artifacts(config)[1] / "model.safetensors", "pt") as written:
        assert {written.get_tensor(name).dtype for name in written.keys()} == {dtype}  # noqa: SIM118 - no mapping


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


def test_an_adapter_is_not_merged_into_other_weights_than_those_it_was_trained_beside(job: Job, tmp_path: Path) -> None:
    job.model = make(tmp_path / "model", torch.bfloat16)
    config = job.config("run", training=SHORT)
    train(config, StopRequest())
    before = artifacts(config)
    replaced = load(job.model)
    with torch.no_grad():
        replaced.model.norm.weight.mul_(1.5)
    replaced.to(torch.bfloat16).save_pretrained(job.model)
    with pytest.raises(ModelError) as caught:
        train(config, StopRequest())
    assert (caught.value.kind, caught.value.exit_code) == ("ModelChanged", 66)
    assert artifacts(config) == before
