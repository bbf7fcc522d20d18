"""The memory plan of a training pod against what was measured, and what it says when it does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from hearth.api.model_facts import ModelFacts
from hearth.plan.training_memory import (
    GIB,
    PROCESS_CPU,
    Shape,
    adapter_parameters,
    ending_bytes,
    largest_micro_batch,
    plan_training,
    refusal,
    row_bytes,
)
from hypothesis import given
from hypothesis import strategies as st

COMMON: dict[str, Any] = {
    "architecture": "LlamaForCausalLM",
    "model_type": "llama",
    "dtype": "bfloat16",
    "max_position_embeddings": 8192,
    "chat_template": True,
    "digest": "sha256:" + "1" * 64,
}
SMOLLM2 = ModelFacts(
    **COMMON,
    parameters=134_515_008,
    weight_bytes=269_030_016,
    hidden_size=576,
    layers=30,
    attention_heads=9,
    key_value_heads=3,
    head_dim=64,
    intermediate_size=1536,
    vocabulary_size=49152,
)
LLAMA_3B = ModelFacts(
    **COMMON,
    parameters=3_212_749_824,
    weight_bytes=6_425_499_648,
    hidden_size=3072,
    layers=28,
    attention_heads=24,
    key_value_heads=8,
    head_dim=128,
    intermediate_size=8192,
    vocabulary_size=128_256,
)


def test_the_adapter_is_counted_as_peft_counts_it() -> None:
    # get_peft_model(SmolLM2-135M, r=8, all-linear) has 2,442,240 trainable parameters.
    assert adapter_parameters(SMOLLM2, 8) == 2_442_240


def test_a_published_lora_on_a_gpu_is_met_within_a_fifth() -> None:
    # torchtune's README: Llama-3.2-3B, LoRA, 2 x 4096 tokens packed, checkpointing, chunked loss: 8.5 GiB on an A100.
    shape = Shape(2, 4096, 8, "BF16", gradient_checkpointing=True)
    assert plan_training(LLAMA_3B, shape, "GPU").planned == pytest.approx(8.5 * GIB, rel=0.2)


def test_a_peak_that_was_measured_on_cpu_is_met_within_a_tenth() -> None:
    # images/trainer on 2 cores, SmolLM2-135M, rank 8, one row of about 250 tokens at a time: highest resident size.
    shape = Shape(1, 250, 8, "FP32", gradient_checkpointing=False)
    assert plan_training(SMOLLM2, shape, "CPU").planned == pytest.approx(2_747_432_960, rel=0.1)


LLAMA_7B = ModelFacts(
    **COMMON,
    parameters=6_738_415_616,
    weight_bytes=13_476_831_232,
    hidden_size=4096,
    layers=32,
    attention_heads=32,
    key_value_heads=32,
    head_dim=128,
    intermediate_size=11008,
    vocabulary_size=32000,
)


def test_the_end_of_a_run_fits_into_what_was_planned_for_training() -> None:
    # Base and adapter are merged a layer at a time: no copy in float32, which would be 25 GiB.
    shape = Shape(1, 512, 16, "BF16", gradient_checkpointing=True)
    plan = plan_training(LLAMA_7B, shape, "CPU")
    assert ending_bytes(LLAMA_7B, shape, "CPU") + PROCESS_CPU < plan.planned < 21 * GIB


@pytest.mark.parametrize("device", ["CPU", "GPU"])
def test_a_base_stored_in_float32_is_planned_for_as_it_is_loaded_at_the_end(device: Literal["CPU", "GPU"]) -> None:
    wide = LLAMA_7B.model_copy(update={"dtype": "float32", "weight_bytes": 4 * LLAMA_7B.parameters})
    shape = Shape(1, 512, 16, "BF16", gradient_checkpointing=True)
    assert dict(plan_training(wide, shape, device).items)["weights"] == 2 * LLAMA_7B.parameters, "as it is trained"
    assert plan_training(wide, shape, device).planned > 4 * LLAMA_7B.parameters
    assert "ending" in dict(plan_training(wide, shape, device).items)


def test_long_rows_without_a_prompt_take_no_more_than_planned() -> None:
    # images/trainer, four rows of Text of 512 tokens at a time, a model of SmolLM2's width with eight layers: highest
    # resident size. With the logits of all positions at once it was 2.6 GB.
    shallow = SMOLLM2.model_copy(update={"layers": 8, "parameters": 56_639_808, "weight_bytes": 113_279_616})
    planned = plan_training(shallow, Shape(4, 512, 16, "FP32", gradient_checkpointing=True), "CPU").planned
    assert 1_419_862_016 < planned < 2_614_521_856


@pytest.mark.parametrize(
    ("rows", "tokens", "measured"),
    [(20_000, 104, 182_717_440), (1500, 1000, 215_441_408), (6000, 1000, 486_146_048)],
)
def test_rows_take_what_was_measured(rows: int, tokens: int, measured: int) -> None:
    # images/trainer up to the first step: how much higher its peak was than with a hundred rows of 104 tokens.
    def held(count: int, each: int) -> int:
        return row_bytes(
            Shape(1, each, 8, "FP32", gradient_checkpointing=False, train_rows=count, train_tokens=count * each)
        )

    assert held(rows, tokens) - held(100, 104) == pytest.approx(measured, rel=0.1)
    shape = Shape(1, tokens, 8, "FP32", gradient_checkpointing=False, train_rows=rows, train_tokens=rows * tokens)
    assert dict(plan_training(SMOLLM2, shape, "CPU").items)["rows"] == held(rows, tokens)
    without = replace(shape, train_rows=0, train_tokens=0)
    beside = [plan_training(SMOLLM2, s, "GPU").beside_gpu for s in (shape, without)]
    assert beside[0] - beside[1] == held(rows, tokens), "with a GPU the rows stay in the node's memory"


def test_checkpointing_saves_most_of_the_activations() -> None:
    kept, again = (
        dict(plan_training(LLAMA_3B, Shape(4, 1024, 16, "BF16", c), "GPU").items)["activations"] for c in (False, True)
    )
    assert again < kept / 3


def test_the_largest_batch_that_fits_is_chosen() -> None:
    shape = Shape(1, 512, 16, "FP32", gradient_checkpointing=False)
    assert largest_micro_batch(SMOLLM2, shape, "CPU", None, 8) == 8
    assert largest_micro_batch(SMOLLM2, shape, "CPU", 6 * GIB, 8) in (2, 4)
    assert largest_micro_batch(SMOLLM2, shape, "CPU", GIB, 8) == 1
    assert largest_micro_batch(SMOLLM2, shape, "CPU", None, 6) == 2, "it divides the batch of a step"


@pytest.mark.parametrize(
    ("available", "change"),
    [
        (7 * GIB, "set training.microBatchSize: "),
        (int(2.8 * GIB), "set training.microBatchSize: 1 and training.gradientCheckpointing: true"),
        (GIB, "give the pod "),
    ],
)
def test_a_refusal_names_the_smallest_change_that_fits(available: int, change: str) -> None:
    told = refusal(SMOLLM2, Shape(8, 1024, 16, "FP32", gradient_checkpointing=False), "CPU", available)
    assert told is not None
    message, suggestion = told
    assert f"but the pod can have {available / GIB:.1f} GiB" in message
    assert "activations" in message
    assert suggestion.startswith(change)


@given(st.integers(1, 64), st.integers(16, 4096), st.integers(1, 128), st.sampled_from(["BF16", "FP32"]))
def test_more_rows_never_need_less_memory(rows: int, tokens: int, rank: int, precision: str) -> None:
    one = plan_training(SMOLLM2, Shape(rows, tokens, rank, precision, gradient_checkpointing=False), "CPU")
    more = plan_training(SMOLLM2, Shape(rows + 1, tokens, rank, precision, gradient_checkpointing=False), "CPU")
    assert one.planned <= more.planned
