"""The memory plan against published measurements, and what it says when a model does not fit.

Calibration points: llm-d-planner docs/empirical-vllm-memory-results.md (vLLM 0.11, H100, share 0.90, 1024 sequences),
vllm-project/vllm issue 21348 and baidu/vLLM-Kunlun PR 330 for KV cache sizes.
"""

from typing import Any

import pytest
from hearth.api.model_facts import CachedLayers, KvCache, ModelFacts
from hearth.plan.kv_cache import BLOCK, CacheUse, kinds, longest_request, request_bytes
from hearth.plan.memory import (
    GIB,
    Device,
    DoesNotFit,
    MemoryPlan,
    Wish,
    activation_bytes,
    label_mib,
    legal_parallel,
    plan_memory,
    visible_gpu_memory,
    weight_bytes,
)
from hypothesis import given
from hypothesis import strategies as st


def model(**changes: Any) -> ModelFacts:
    llama_8b: dict[str, Any] = {
        "architecture": "LlamaForCausalLM",
        "model_type": "llama",
        "parameters": 8_030_261_248,
        "weight_bytes": 16_060_522_496,
        "dtype": "bfloat16",
        "hidden_size": 4096,
        "layers": 32,
        "attention_heads": 32,
        "key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 14336,
        "vocabulary_size": 128256,
        "max_position_embeddings": 131072,
        "chat_template": True,
        "digest": "sha256:" + "0" * 64,
    }
    return ModelFacts(**llama_8b | changes)


def cached(*layers: tuple[int, int, int, int | None]) -> KvCache:
    """Layers, their heads, the width that a token leaves per head, and their window."""
    return KvCache(layers=[CachedLayers(layers=n, heads=h, width=w, window=back) for n, h, w, back in layers])


def per_token(facts: ModelFacts, parallel: int = 1) -> float:
    layers = kinds(facts)
    assert layers is not None
    return request_bytes(layers, 2**20, CacheUse(2, parallel)) / 2**20


LLAMA_8B = model()
QWEN_32B = model(
    parameters=32_762_123_264,
    weight_bytes=65_524_246_528,
    hidden_size=5120,
    layers=64,
    attention_heads=64,
    vocabulary_size=151936,
    max_position_embeddings=40960,
)
SMOLLM2 = model(
    parameters=134_515_008,
    weight_bytes=269_030_016,
    hidden_size=576,
    layers=30,
    attention_heads=9,
    key_value_heads=3,
    head_dim=64,
    intermediate_size=1536,
    vocabulary_size=49152,
    max_position_embeddings=8192,
)
MINILM = model(
    architecture="BertModel",
    model_type="bert",
    parameters=22_713_216,
    weight_bytes=90_852_864,
    dtype="float32",
    hidden_size=384,
    layers=6,
    attention_heads=12,
    key_value_heads=12,
    head_dim=32,
    intermediate_size=1536,
    vocabulary_size=30522,
    max_position_embeddings=256,
)
H100_LABEL = 81559
L4 = Device("GPU", 1, visible_gpu_memory(23034))


@pytest.mark.parametrize(
    ("facts", "rows", "measured_gib"),
    [
        (LLAMA_8B, 1024, 4.76),
        (model(vocabulary_size=151936), 1024, 5.64),
        (model(vocabulary_size=201088), 1024, 7.38),
        (LLAMA_8B, 256, 1.26),
    ],
)
def test_activations_are_those_measured(facts: ModelFacts, rows: int, measured_gib: float) -> None:
    assert activation_bytes(facts, rows) / GIB == pytest.approx(measured_gib, rel=0.06)


@pytest.mark.parametrize(
    ("facts", "parallel", "measured_gib"),
    [(LLAMA_8B, 1, 14.99), (QWEN_32B, 1, 61.03), (QWEN_32B, 2, 30.59)],
)
def test_weights_are_those_measured(facts: ModelFacts, parallel: int, measured_gib: float) -> None:
    assert weight_bytes(facts, None) / parallel / GIB == pytest.approx(measured_gib, rel=0.01)


@pytest.mark.parametrize(
    ("facts", "parallel", "cache_gib", "measured_tokens"),
    [
        (model(layers=64, key_value_heads=8, head_dim=128), 1, 41.98, 171_904),
        (model(layers=94, key_value_heads=4, head_dim=128), 4, 8.11, 178_880),
    ],
)
def test_a_cache_holds_the_tokens_that_vllm_reports(
    facts: ModelFacts, parallel: int, cache_gib: float, measured_tokens: int
) -> None:
    tokens = cache_gib * GIB / per_token(facts, parallel)
    assert tokens == pytest.approx(measured_tokens, rel=0.015)


@pytest.mark.parametrize(
    ("weights", "activations", "non_torch", "measured"),
    [
        (14.99, 4.76, 0.13, 51.38),
        (33.88, 4.84, 0.55, 32.00),
        (1.12, 5.56, 0.13, 64.45),
        (61.03, 5.64, 0.14, 4.45),
        (30.59, 5.64, 0.54, 34.49),
        (13.47, 7.38, 0.13, 50.28),
    ],
)
def test_what_the_other_parts_leave_is_the_cache(
    weights: float, activations: float, non_torch: float, measured: float
) -> None:
    visible = visible_gpu_memory(H100_LABEL) / GIB
    assert 0.9 * visible - weights - activations - non_torch == pytest.approx(measured, abs=0.03)


@given(visible=st.integers(1, 200 * GIB))
def test_the_least_gpu_that_offers_so_much_memory_is_found(visible: int) -> None:
    assert visible_gpu_memory(label_mib(visible) - 1) < visible <= visible_gpu_memory(label_mib(visible))


def test_an_8b_model_on_an_h100_leaves_its_memory_to_the_cache() -> None:
    plan = plan_memory(LLAMA_8B, Wish(), Device("GPU", 1, visible_gpu_memory(H100_LABEL)))
    assert isinstance(plan, MemoryPlan)
    assert plan.planned == plan.available
    assert plan.kv_cache / GIB == pytest.approx(55, abs=1.5)
    assert plan.max_model_len == 131072
    assert plan.max_concurrency == 256


def test_an_unset_context_is_cut_to_what_the_card_holds() -> None:
    l4 = Device("GPU", 1, visible_gpu_memory(23034))
    plan = plan_memory(LLAMA_8B, Wish(max_concurrency=32), l4)
    assert isinstance(plan, MemoryPlan)
    assert 2048 <= plan.max_model_len < 131072
    assert plan.kv_tokens is not None
    assert plan.max_model_len <= plan.kv_tokens


@pytest.mark.parametrize(
    ("facts", "wish", "device", "said"),
    [
        (
            LLAMA_8B,
            Wish(max_model_len=131072),
            Device("GPU", 1, visible_gpu_memory(23034)),
            "engine.maxModelLen: 22016",
        ),
        (QWEN_32B, Wish(), Device("GPU", 1, visible_gpu_memory(23034)), "accelerator.count: 4"),
        (
            model(vocabulary_size=262144),
            Wish(max_concurrency=1024),
            Device("GPU", 1, visible_gpu_memory(23034)),
            "engine.maxConcurrency: 128",
        ),
        (SMOLLM2, Wish(), Device("CPU", 1, 2 * GIB), "resources.limits.memory: 3Gi"),
        (
            SMOLLM2,
            Wish(max_concurrency=128),
            Device("CPU", 1, 4 * GIB),
            "engine.maxConcurrency: 32",
        ),
        (LLAMA_8B, Wish(), Device("GPU", 3, visible_gpu_memory(H100_LABEL)), "one of 1, 2, 4, 8, 16"),
        (SMOLLM2, Wish(max_model_len=16384), Device("CPU"), "longer than the model's own context of 8192"),
    ],
)
def test_a_refusal_names_the_smallest_change_that_fits(
    facts: ModelFacts, wish: Wish, device: Device, said: str
) -> None:
    refused = plan_memory(facts, wish, device)
    assert isinstance(refused, DoesNotFit)
    assert said in refused.message


def test_a_refusal_has_the_numbers() -> None:
    refused = plan_memory(QWEN_32B, Wish(max_model_len=40960), Device("GPU", 1, visible_gpu_memory(H100_LABEL)))
    assert isinstance(refused, DoesNotFit)
    assert refused.message == (
        "needs 74.8 GiB (weights 62.2 GiB, kv-cache 10.0 GiB, activations 1.4 GiB, overhead 1.1 GiB for 40960 tokens "
        "and 256 requests at once), but 1 GPU of 72.8 GiB usable memory was found. "
        "Smallest change that fits: engine.maxModelLen: 32912"
    )


def test_a_small_model_on_cpu_is_planned_in_whole_gibibytes_of_cache() -> None:
    plan = plan_memory(SMOLLM2, Wish(), Device("CPU", 1, 8 * GIB))
    assert isinstance(plan, MemoryPlan)
    assert plan.kv_cache == GIB
    assert plan.kv_tokens == 46_592, "as vLLM 0.32 reports, which counts whole blocks"
    assert plan.planned / GIB == pytest.approx(2.98, abs=0.02)


def test_an_encoder_keeps_no_cache() -> None:
    plan = plan_memory(MINILM, Wish(embed=True), Device("CPU", 1, 8 * GIB))
    assert isinstance(plan, MemoryPlan)
    assert plan.kv_cache == 0
    assert plan.max_model_len == 256


@pytest.mark.parametrize(("facts", "embed", "measured_mib"), [(MINILM, True, 1536), (SMOLLM2, False, 3043)])
def test_plans_on_cpu_are_what_real_engines_were_seen_to_take(
    facts: ModelFacts, embed: bool, measured_mib: int
) -> None:
    plan = plan_memory(facts, Wish(embed=embed), Device("CPU"))
    assert isinstance(plan, MemoryPlan)
    assert plan.planned / 2**20 == pytest.approx(measured_mib, rel=0.03)


def test_casting_to_float32_doubles_the_weights() -> None:
    assert weight_bytes(SMOLLM2, "Float32") == 2 * weight_bytes(SMOLLM2, None)
    assert weight_bytes(model(quantization="awq"), "Float32") == weight_bytes(LLAMA_8B, None)


def test_weights_stored_in_float32_are_loaded_in_16_bits_unless_asked_otherwise() -> None:
    stored = model(dtype="float32", weight_bytes=2 * LLAMA_8B.weight_bytes)
    assert weight_bytes(stored, None) == LLAMA_8B.weight_bytes
    assert weight_bytes(stored, "Float32") == stored.weight_bytes
    wish = Wish(max_model_len=8192, max_concurrency=32)
    assert plan_memory(stored, wish, L4) == plan_memory(LLAMA_8B, wish, L4), "on a GPU"
    assert plan_memory(stored, wish, Device("CPU")) == plan_memory(LLAMA_8B, wish, Device("CPU")), "and on CPU"


DEEPSEEK_V2_LITE = model(
    model_type="deepseek_v2",
    parameters=15_706_484_224,
    weight_bytes=31_412_968_448,
    hidden_size=2048,
    layers=27,
    attention_heads=16,
    key_value_heads=16,
    head_dim=192,
    vocabulary_size=102400,
    max_position_embeddings=163840,
    kv_cache=cached((27, 1, 576, None)),
)
GEMMA_3_12B = model(
    model_type="gemma3_text",
    layers=48,
    attention_heads=16,
    key_value_heads=8,
    head_dim=256,
    vocabulary_size=262208,
    kv_cache=cached((8, 8, 512, None), (40, 8, 512, 1024)),
)


def test_a_latent_is_small_and_every_gpu_keeps_a_copy() -> None:
    assert per_token(DEEPSEEK_V2_LITE) == per_token(DEEPSEEK_V2_LITE, 8) == 31_104
    l40s = Device("GPU", 1, visible_gpu_memory(46_068))
    plan = plan_memory(DEEPSEEK_V2_LITE, Wish(max_model_len=65_536), l40s)
    assert isinstance(plan, MemoryPlan)
    assert plan.kv_tokens is not None
    assert plan.kv_tokens > 4 * 65_536


def test_layers_with_a_window_keep_it_and_what_is_in_flight() -> None:
    layers = kinds(GEMMA_3_12B)
    assert layers is not None
    use = CacheUse(2, in_flight=4096)
    # Six groups of eight layers: one keeps all tokens, five the window and two batches, and one block more.
    blocks = 32_768 // BLOCK + 5 * (320 + 1)
    assert request_bytes(layers, 32_768, use) == blocks * 8 * 8 * 512 * 2 * BLOCK
    assert request_bytes(layers, 512, use) == (32 + 5 * 33) * 8 * 8 * 512 * 2 * BLOCK, "a short request is kept whole"


@pytest.mark.parametrize(
    ("layers", "groups_of"),
    [(cached((10, 8, 256, None), (52, 8, 256, 1024)), 10), (cached((21, 8, 256, None), (24, 8, 256, 1024)), 24)],
)
def test_groups_are_padded_to_one_size(layers: KvCache, groups_of: int) -> None:
    assert layers.layers is not None
    page = groups_of * 8 * 256 * 2 * BLOCK
    needed = request_bytes(layers.layers, BLOCK, CacheUse(2))
    assert needed % page == 0
    groups = [-(-kind.layers // groups_of) for kind in layers.layers]
    assert needed // page == groups[0] + 2 * groups[1], "a window may begin in the middle of a block"


def test_a_cache_that_is_not_known_is_no_reason_to_refuse() -> None:
    unknown = model(attention_heads=None, key_value_heads=None, head_dim=None, kv_cache=KvCache(unknown="no heads"))
    for device in (L4, Device("GPU", 3, visible_gpu_memory(H100_LABEL)), Device("CPU", 1, 64 * GIB)):
        plan = plan_memory(unknown, Wish(), device)
        assert isinstance(plan, MemoryPlan)
        assert plan.kv_tokens is None
        assert plan.max_model_len == 8192
        assert plan.kv_cache >= GIB
    asked = plan_memory(unknown, Wish(max_model_len=65_536), L4)
    assert isinstance(asked, MemoryPlan)
    assert asked.max_model_len == 65_536


def test_a_model_that_an_older_operator_read_keeps_its_plan() -> None:
    """Its cache is not on record: all of every head then, as it was planned."""
    assert LLAMA_8B.kv_cache is None
    read_again = model(kv_cache=cached((32, 8, 256, None)))
    for device in (L4, Device("CPU", 1, 64 * GIB)):
        assert plan_memory(LLAMA_8B, Wish(), device) == plan_memory(read_again, Wish(), device)


@given(memory=st.integers(17 * GIB, 40 * GIB))
def test_a_suggested_length_fits_and_a_block_more_does_not(memory: int) -> None:
    device = Device("GPU", 1, memory)
    refused = plan_memory(LLAMA_8B, Wish(max_model_len=131_072, max_concurrency=1), device)
    if isinstance(refused, MemoryPlan) or "engine.maxModelLen: " not in refused.message:
        return
    length = int(refused.message.rsplit("engine.maxModelLen: ", 1)[1])
    assert length % BLOCK == 0
    assert isinstance(plan_memory(LLAMA_8B, Wish(max_model_len=length, max_concurrency=1), device), MemoryPlan)
    longer = Wish(max_model_len=length + BLOCK, max_concurrency=1)
    assert isinstance(plan_memory(LLAMA_8B, longer, device), DoesNotFit)


def test_a_length_under_2048_is_suggested_where_no_more_fits() -> None:
    tight = Device("GPU", 1, 18 * GIB)
    refused = plan_memory(LLAMA_8B, Wish(max_model_len=4096, max_concurrency=1), tight)
    assert isinstance(refused, DoesNotFit)
    suggested = int(refused.message.rsplit("engine.maxModelLen: ", 1)[1])
    assert 256 <= suggested < 2048


@given(room=st.integers(0, 64 * GIB), most=st.integers(1, 200_000))
def test_the_longest_request_is_the_longest(room: int, most: int) -> None:
    layers, use = kinds(GEMMA_3_12B), CacheUse(2, in_flight=4096)
    assert layers is not None
    longest = longest_request(layers, room, use, most)
    assert longest == 0 or request_bytes(layers, longest, use) <= room
    if longest < most:
        assert request_bytes(layers, min(most, longest + BLOCK), use) > room


@given(memory=st.integers(8 * GIB, 200 * GIB), more=st.integers(0, 64 * GIB), count=st.sampled_from([1, 2, 4, 8]))
def test_more_memory_never_makes_a_model_unfit(memory: int, more: int, count: int) -> None:
    if isinstance(plan_memory(LLAMA_8B, Wish(), Device("GPU", count, memory)), MemoryPlan):
        assert isinstance(plan_memory(LLAMA_8B, Wish(), Device("GPU", count, memory + more)), MemoryPlan)


@given(memory=st.integers(1 * GIB, 200 * GIB), count=st.integers(1, 16), length=st.integers(16, 131072))
def test_a_plan_never_exceeds_what_there_is(memory: int, count: int, length: int) -> None:
    plan = plan_memory(LLAMA_8B, Wish(max_model_len=length), Device("GPU", count, memory))
    if isinstance(plan, MemoryPlan):
        assert legal_parallel(LLAMA_8B, count)
        assert plan.available is not None
        assert plan.planned <= plan.available <= memory
        assert plan.kv_cache >= length * per_token(LLAMA_8B, count)
