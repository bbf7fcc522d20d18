"""Rows that share a sequence are learnt as if each stood alone, or training does not begin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer.errors import BadConfigError
from hearth_trainer.fit import fit
from hearth_trainer.prepare import load_dataset
from hearth_trainer.stopping import StopRequest
from tiny_model import LONGEST, VOCABULARY, make
from transformers import Lfm2Config, Lfm2ForCausalLM, OPTConfig, OPTForCausalLM

ROWS = 16
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": LONGEST,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def learnt_at_once(job: Job, **training: Any) -> tuple[float, dict[str, torch.Tensor], int]:
    """The loss of all rows, its gradients, and how many sequences they are in."""
    trainer = job.trainer(microBatchSize=ROWS, globalBatchSize=ROWS, **training)
    (batch,) = trainer.get_train_dataloader()
    loss = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(1.0))
    loss.backward()
    moved = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.item(), moved, len(trainer.train_dataset)


def test_rows_that_share_a_sequence_do_not_see_each_other(job: Job) -> None:
    alone, wanted, rows = learnt_at_once(job)
    packed, moved, sequences = learnt_at_once(job, packing=True, maxSequenceLength=LONGEST)
    assert rows == ROWS
    assert sequences < ROWS / 2
    assert packed == pytest.approx(alone, rel=1e-5)
    assert max(float(g.norm()) for g in wanted.values()) > 0
    for name, gradient in wanted.items():
        torch.testing.assert_close(moved[name], gradient, rtol=1e-3, atol=1e-5)


def test_a_run_with_packed_rows_makes_its_steps_and_counts_their_tokens(job: Job) -> None:
    config = job.config("run", training={"packing": True, "maxSequenceLength": 64, "globalBatchSize": 2})
    fitted = fit(config, job.model, load_dataset(config).train, StopRequest(), None)
    assert fitted.finished
    assert 0 < fitted.steps < 2 * ROWS / 2
    assert fitted.tokens_per_second is not None
    assert fitted.tokens_per_second > 0


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (
            lambda: OPTForCausalLM(OPTConfig(**SHAPE, ffn_dim=64, word_embed_proj_dim=64)),
            "depends on the row before it",
        ),
        (
            lambda: Lfm2ForCausalLM(Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])),
            "packed sequences apart",
        ),
    ],
    ids=["rows see each other", "no kernel for it"],
)
def test_a_model_that_cannot_keep_rows_apart_is_refused(job: Job, tmp_path: Path, model: Any, told: str) -> None:
    job.model = make(tmp_path / "model", torch.float32)
    torch.manual_seed(0)
    model().save_pretrained(job.model)
    job.trainer()
    with pytest.raises(BadConfigError, match=told) as caught:
        job.trainer(packing=True)
    assert caught.value.kind == "PackingRefused"
