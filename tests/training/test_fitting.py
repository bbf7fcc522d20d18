"""Training: the same steps on the same rows, interrupted or not, with TRL's own loss."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Job
from hearth_trainer import checkpoints, output_loss
from hearth_trainer import fit as fitting
from hearth_trainer.config import Config
from hearth_trainer.errors import BadConfigError, InterruptedRunError
from hearth_trainer.fit import Fitted, fit
from hearth_trainer.prepare import load_dataset
from hearth_trainer.row_order import OrderedTrainer, RowOrder
from hearth_trainer.stopping import StopRequest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, CohereConfig, Gemma2Config, GraniteConfig, LlamaConfig
from trl import SFTTrainer

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}
STEPS = 8
"""Two passes over sixteen rows, four rows a step in two passes each."""


class StopAt(StopRequest):
    """A request to stop that is there when training looks for the nth time: after each half of a step."""

    def __init__(self, look: int) -> None:
        self.looks, self.look = 0, look
        super().__init__()

    @property
    def requested(self) -> bool:
        self.looks += 1
        return self.looks >= self.look

    @requested.setter
    def requested(self, _: bool) -> None:
        """Only the count decides."""


class Told:
    """Remembers what would be posted to the operator."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, dict[str, Any]]] = []

    def tell(self, percentage: int, _left: int | None, figures: dict[str, Any]) -> None:
        self.messages.append((percentage, figures))


def run(config: Config, stop: StopRequest | None = None, told: Any = None) -> Fitted:
    return fit(config, Path(config.model.path), load_dataset(config).train, stop or StopRequest(), told)


def losses(config: Config) -> list[float]:
    """The loss of every step, as the newest checkpoint has them."""
    newest = checkpoints.newest(Path(config.checkpoints.path))
    assert newest is not None
    history = json.loads((newest / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def weights(fitted: Fitted) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(fitted.checkpoint / "adapter_model.safetensors")
    return found


@pytest.mark.parametrize(
    ("look", "step", "dropout"),
    [(6, 3, 0.0), (9, 4, 0.0), (10, 5, 0.1), (9, 4, 0.1)],
    ids=["after step 3", "within step 5", "after step 5 with dropout", "within step 5 with dropout"],
)
def test_a_run_that_was_interrupted_makes_the_same_steps(job: Job, look: int, step: int, dropout: float) -> None:
    adapter = {"rank": 4, "alpha": 8, "dropout": dropout}
    whole, halves = job.config("whole", adapter=adapter), job.config("halves", adapter=adapter)
    straight = run(whole)
    with pytest.raises(InterruptedRunError) as caught:
        run(halves, StopAt(look))
    assert caught.value.exit_code == 75
    newest = checkpoints.newest(Path(halves.checkpoints.path))
    assert newest is not None
    assert checkpoints.step_of(newest) == step
    resumed = run(halves)
    assert (resumed.steps, straight.steps) == (STEPS, STEPS)
    assert losses(halves) == losses(whole)
    assert len(set(losses(whole))) == STEPS, "steps on the same rows would show no order"
    for name, tensor in weights(straight).items():
        assert torch.equal(weights(resumed)[name], tensor), name


def test_a_run_that_was_killed_goes_on_from_the_newest_complete_checkpoint(job: Job) -> None:
    whole, killed = job.config("whole"), job.config("killed")
    run(whole)
    with pytest.raises(InterruptedRunError):
        run(killed, StopAt(9))
    torn = Path(killed.checkpoints.path) / "checkpoint-4"
    (torn / "optimizer.pt").write_bytes(b"torn")
    run(killed)
    assert losses(killed) == losses(whole)


def test_a_finished_run_is_not_made_again(job: Job) -> None:
    config = job.config("run")
    first, second = run(config), run(config)
    assert (second.steps, second.checkpoint, second.tokens_per_second) == (first.steps, first.checkpoint, None)
    assert second.loss == pytest.approx(first.loss)
    assert len(checkpoints.all_of(Path(config.checkpoints.path))) == config.checkpoints.keep


def test_progress_is_told_and_an_interrupted_run_does_not_say_that_it_is_done(job: Job) -> None:
    config, told = job.config("run"), Told()
    with pytest.raises(InterruptedRunError):
        run(config, StopAt(6), told)
    assert max(percentage for percentage, _ in told.messages) == 100 * 3 // STEPS
    run(config, told=told)
    percentage, figures = told.messages[-1]
    assert (percentage, figures["step"], figures["total_steps"]) == (100, STEPS, STEPS)
    assert figures["checkpoint_step"] == STEPS


@pytest.mark.parametrize("packing", [False, True], ids=["row by row", "packed"])
@pytest.mark.parametrize("piece", [5, 256], ids=["in pieces", "at once"])
def test_the_loss_on_cpu_and_its_gradients_are_those_of_trl(
    job: Job, piece: int, packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_loss, "PIECE", piece)
    trainer = job.trainer(packing=packing)
    batch = next(iter(trainer.get_train_dataloader()))
    items = (batch["labels"][:, 1:] != -100).sum()
    assert 5 < items < batch["input_ids"].numel() // 2, "prompts must not be learnt"

    def gradients(compute: Any) -> tuple[float, dict[str, torch.Tensor]]:
        trainer.model.zero_grad()
        loss = compute(trainer.model, dict(batch), num_items_in_batch=items)
        loss.backward()
        return loss.item(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}

    own, moved = gradients(trainer.compute_loss)
    theirs, wanted = gradients(lambda *a, **k: SFTTrainer.compute_loss(trainer, *a, **k))
    assert own == pytest.approx(theirs, rel=1e-5)
    assert moved.keys() == wanted.keys()
    assert max(float(g.norm()) for g in wanted.values()) > 0
    for name, gradient in wanted.items():
        torch.testing.assert_close(moved[name], gradient, rtol=1e-3, atol=1e-6)


def test_no_more_positions_than_a_piece_are_projected_at_once() -> None:
    layer = torch.nn.Linear(8, 50, bias=False).requires_grad_(requires_grad=False)
    widths: list[int] = []
    layer.register_forward_hook(lambda _module, _inputs, output: widths.append(len(output)))
    hidden = torch.randn(output_loss.PIECE * 2 + 3, 8, requires_grad=True)
    labels = torch.randint(50, (len(hidden),))
    learnt = output_loss.output_loss(layer, hidden, labels)
    learnt.backward()
    assert hidden.grad is not None
    assert output_loss.measured_loss(layer, hidden.detach(), labels) == pytest.approx(learnt.item(), rel=1e-5)
    assert widths == [output_loss.PIECE, output_loss.PIECE, 3] * 2


MEASURED = """
import re, sys, torch
from pathlib import Path
from hearth_trainer.output_loss import output_loss

def peak():  # not getrusage: that begins with the peak of whoever started this
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

positions, words = int(sys.argv[1]), int(sys.argv[2])
layer = torch.nn.Linear(32, words, bias=False).requires_grad_(False)
hidden, labels = torch.randn(positions, 32, requires_grad=True), torch.randint(words, (positions,))
before = peak()
output_loss(layer, hidden, labels).backward()
print(peak() - before)
"""


def test_the_logits_of_long_targets_take_what_the_memory_plan_says() -> None:
    positions, words = 16 * output_loss.PIECE, 50_000
    command = [sys.executable, "-c", MEASURED, str(positions), str(words)]
    took = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    planned = 3 * output_loss.PIECE * words * 4
    assert planned / 3 < took < 1.5 * planned, f"all at once would be {3 * positions * words * 4}"


@pytest.mark.parametrize(
    "config",
    [
        Gemma2Config(final_logit_softcapping=0.5, **SMALL),
        CohereConfig(logit_scale=0.3, **SMALL),
        GraniteConfig(logits_scaling=4.0, **SMALL),
        LlamaConfig(**SMALL),
    ],
    ids=lambda config: config.model_type,
)
def test_logits_are_scaled_and_capped_as_the_model_does_it(config: Any) -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = torch.randint(64, (1, 5))
    with torch.no_grad():
        hidden = model.get_decoder()(ids).last_hidden_state
        torch.testing.assert_close(output_loss.output_layer(model)(hidden), model(ids).logits)


def test_an_adapter_on_the_output_layer_is_refused(job: Job) -> None:
    config = job.config("run", adapter={"rank": 4, "alpha": 8, "targetModules": ["q_proj", "lm_head"]})
    with pytest.raises(BadConfigError) as caught:
        run(config)
    assert caught.value.kind == "TrainerRefused"


def test_training_on_cpu_makes_the_steps_of_trl(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    own, theirs = job.config("own"), job.config("theirs")
    run(own)
    monkeypatch.setattr(fitting, "CpuTrainer", OrderedTrainer)
    run(theirs)
    assert losses(own) == pytest.approx(losses(theirs), rel=1e-3)


def test_a_step_has_the_rows_of_the_shuffle_and_the_passes_of_it_rows_of_like_length() -> None:
    lengths = [10 * (n * 7 % 11) for n in range(22)]
    order = RowOrder(lengths, rows_per_step=8, seed=3)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert sorted(first) == sorted(second) == list(range(22))
    assert first == list(RowOrder(lengths, rows_per_step=8, seed=3))
    assert {*first[:8]} != {*second[:8]}, "every epoch has other steps"
    assert {*first[:8]} != {*sorted(range(22), key=lambda n: -lengths[n])[:8]}, "rows of any length share a step"
    for begin in (0, 8, 16):
        step = [lengths[row] for row in first[begin : begin + 8]]
        assert step == sorted(step, reverse=True)


def test_training_takes_the_rows_in_that_order(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"question {n} {'and on ' * (n * 5 % 7)}" for n in range(16)]
    rows = [{"prompt": text, "completion": f"answer {n}"} for n, text in enumerate(texts)]
    path = job.folder / "uneven.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    config = job.config("run", dataset={"train": {"path": str(path), "source": "configMap://rows/uneven.jsonl"}})
    widths: list[int] = []
    compute = OrderedTrainer.compute_loss

    def watched(self: Any, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        widths.append(inputs["input_ids"].shape[1])
        return compute(self, model, inputs, *args, **more)

    monkeypatch.setattr(fitting, "CpuTrainer", OrderedTrainer)
    monkeypatch.setattr(OrderedTrainer, "compute_loss", watched)
    run(config)
    pairs = list(zip(widths[::2], widths[1::2], strict=True))
    assert all(first >= second for first, second in pairs), "the longer half of each step comes first"
    assert any(first > second for first, second in pairs)


def test_a_loss_that_is_no_number_ends_the_run(job: Job) -> None:
    with pytest.raises(BadConfigError) as caught:
        run(job.config("run", training={"learningRate": 1e30, "learningRateSchedule": "Constant", "warmupRatio": 0.0}))
    assert (caught.value.kind, caught.value.exit_code) == ("LossDiverged", 64)


def test_sigterm_leaves_a_checkpoint_and_exit_code_75(job: Job) -> None:
    config = job.config("run", training={"maxSteps": 100_000})
    (job.folder / "config.json").write_text(config.model_dump_json(by_alias=True, exclude_none=True))
    environment = os.environ | {
        "HEARTH_CONFIG": str(job.folder / "config.json"),
        "HEARTH_TERMINATION_LOG": str(job.folder / "termination-log"),
    }
    command = [sys.executable, "-m", "hearth_trainer", "train"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step 10 of" in line:
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stdout.read()
    assert process.returncode == 75, rest
    assert json.loads((job.folder / "termination-log").read_text())["error"]["class"] == "Interrupted"
    newest = checkpoints.newest(Path(config.checkpoints.path))
    assert newest is not None
    assert f"checkpoint after step {checkpoints.step_of(newest)} is complete" in rest
    assert not Path(config.output.path).exists()
