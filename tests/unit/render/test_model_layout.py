"""What config.json of real model families says, and what vLLM 0.32 keeps of every token of them.

Each configuration has the keys of the published file that matter here. Bytes per token are those of 16-bit numbers.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hearth.api.model_facts import CachedLayers, KvCache
from hearth.render.scripts import model_layout
from hearth.render.scripts.model_layout import layout

LLAMA_31_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
DEEPSEEK_V2_LITE = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
    "max_position_embeddings": 163840,
}
DEEPSEEK_V3 = DEEPSEEK_V2_LITE | {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
}
FALCON_7B = {
    "architectures": ["FalconForCausalLM"],
    "model_type": "falcon",
    "hidden_size": 4544,
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "num_kv_heads": 71,
    "multi_query": True,
    "new_decoder_architecture": False,
    "vocab_size": 65024,
}
FALCON_40B = FALCON_7B | {
    "hidden_size": 8192,
    "num_hidden_layers": 60,
    "num_attention_heads": 128,
    "num_kv_heads": 8,
    "new_decoder_architecture": True,
}
STARCODER = {
    "architectures": ["GPTBigCodeForCausalLM"],
    "model_type": "gpt_bigcode",
    "n_embd": 6144,
    "n_inner": 24576,
    "n_layer": 40,
    "n_head": 48,
    "n_positions": 8192,
    "multi_query": True,
    "vocab_size": 49152,
}
DBRX = {
    "architectures": ["DbrxForCausalLM"],
    "model_type": "dbrx",
    "d_model": 6144,
    "n_layers": 40,
    "n_heads": 48,
    "attn_config": {"clip_qkv": 8, "kv_n_heads": 8, "rope_theta": 500000},
    "max_seq_len": 32768,
    "vocab_size": 100352,
}
CHATGLM3_6B = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "hidden_size": 4096,
    "ffn_hidden_size": 13696,
    "num_layers": 28,
    "num_attention_heads": 32,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "kv_channels": 128,
    "padded_vocab_size": 65024,
    "seq_length": 8192,
}
MISTRAL_7B_V01 = LLAMA_31_8B | {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "sliding_window": 4096,
    "vocab_size": 32000,
    "max_position_embeddings": 32768,
}
QWEN25_7B = LLAMA_31_8B | {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "sliding_window": 131072,
    "use_sliding_window": False,
    "max_window_layers": 28,
}
GEMMA_2_9B = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "hidden_size": 3584,
    "intermediate_size": 14336,
    "num_hidden_layers": 42,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 256,
    "sliding_window": 4096,
    "vocab_size": 256000,
    "max_position_embeddings": 8192,
}
GEMMA_3_4B = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "text_config": {
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "model_type": "gemma3_text",
        "num_hidden_layers": 34,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "vision_config": {"hidden_size": 1152, "num_attention_heads": 16, "num_hidden_layers": 27},
}
GPT_OSS_20B = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
    "vocab_size": 201088,
    "max_position_embeddings": 131072,
}
LLAVA_15_7B = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "text_config": {
        "_name_or_path": "lmsys/vicuna-7b-v1.5",
        "architectures": ["LlamaForCausalLM"],
        "max_position_embeddings": 4096,
        "model_type": "llama",
        "vocab_size": 32064,
    },
    "vision_config": {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24},
}
MINILM = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}


def cache(config: dict[str, Any]) -> KvCache:
    return KvCache.model_validate(layout(config)["kvCache"])


def kinds(config: dict[str, Any]) -> list[tuple[int, int | None, int]]:
    """Layers, their window, and what one token leaves in all of them, in bytes."""
    found: list[CachedLayers] | None = cache(config).layers
    assert found is not None
    return [(k.layers, k.window, k.layers * k.heads * k.width * 2) for k in found]


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        pytest.param(LLAMA_31_8B, [(32, None, 131072)], id="llama-3.1-8b"),
        pytest.param(DEEPSEEK_V2_LITE, [(27, None, 31104)], id="deepseek-v2-lite: one latent for all heads"),
        pytest.param(DEEPSEEK_V3, [(61, None, 70272)], id="deepseek-v3"),
        pytest.param(FALCON_7B, [(32, None, 8192)], id="falcon-7b: one head, whatever num_kv_heads says"),
        pytest.param(FALCON_40B, [(60, None, 122880)], id="falcon-40b: eight heads, whatever multi_query says"),
        pytest.param(STARCODER, [(40, None, 20480)], id="starcoder"),
        pytest.param(DBRX, [(40, None, 163840)], id="dbrx: heads inside attn_config"),
        pytest.param(CHATGLM3_6B, [(28, None, 28672)], id="chatglm3-6b"),
        pytest.param(MISTRAL_7B_V01, [(32, 4096, 131072)], id="mistral-7b-v0.1: a window in every layer"),
        pytest.param(QWEN25_7B, [(28, None, 57344)], id="qwen2.5-7b: a window that is not used"),
        pytest.param(GEMMA_2_9B, [(21, None, 172032), (21, 4096, 172032)], id="gemma-2-9b: every other layer"),
        pytest.param(GEMMA_3_4B, [(5, None, 20480), (29, 1024, 118784)], id="gemma-3-4b: every sixth looks at all"),
        pytest.param(GPT_OSS_20B, [(12, None, 24576), (12, 128, 24576)], id="gpt-oss-20b"),
        pytest.param(LLAVA_15_7B, [(32, None, 524288)], id="llava-1.5-7b: what its text part leaves out"),
        pytest.param(MINILM, [], id="an encoder keeps nothing"),
    ],
)
def test_what_is_kept_of_every_token(config: dict[str, Any], kept: list[tuple[int, int | None, int]]) -> None:
    assert kinds(config) == kept


@pytest.mark.parametrize(
    ("config", "said"),
    [
        pytest.param(
            LLAMA_31_8B | {"model_type": "qwen3_next", "layer_types": ["linear_attention", "full_attention"] * 16},
            "linear_attention",
            id="qwen3-next",
        ),
        pytest.param(LLAMA_31_8B | {"model_type": "bamba", "mamba_d_state": 128}, "mamba_d_state", id="bamba"),
        pytest.param(DEEPSEEK_V3 | {"model_type": "deepseek_v32", "index_head_dim": 128}, "index", id="deepseek-v3.2"),
        pytest.param(DEEPSEEK_V2_LITE | {"model_type": "minicpm3"}, "of the type minicpm3", id="minicpm3"),
        pytest.param(LLAMA_31_8B | {"model_type": "gemma4_text", "global_head_dim": 512}, "width", id="gemma-4"),
        pytest.param(
            {k: v for k, v in LLAMA_31_8B.items() if "heads" not in k} | {"model_type": "rwkv7"},
            "num_attention_heads",
            id="no heads at all",
        ),
    ],
)
def test_what_is_not_known_is_left_to_vllm_and_said(config: dict[str, Any], said: str) -> None:
    found = cache(config)
    assert found.layers is None
    assert found.unknown is not None
    assert said in found.unknown


@pytest.mark.parametrize(
    ("config", "numbers"),
    [
        (GEMMA_3_4B, {"attentionHeads": 8, "keyValueHeads": 4, "headDim": 256, "vocabularySize": 262208}),
        (GEMMA_3_4B, {"maxPositionEmbeddings": 131072, "hiddenSize": 2560, "layers": 34, "modelType": "gemma3_text"}),
        (LLAVA_15_7B, {"hiddenSize": 4096, "layers": 32, "attentionHeads": 32, "vocabularySize": 32064}),
        (DEEPSEEK_V3, {"keyValueHeads": 128, "headDim": 192}),
        (
            CHATGLM3_6B,
            {"layers": 28, "vocabularySize": 65024, "maxPositionEmbeddings": 8192, "intermediateSize": 13696},
        ),
        (FALCON_7B, {"maxPositionEmbeddings": 2048}),
    ],
)
def test_the_numbers_of_a_file_that_leaves_some_out(config: dict[str, Any], numbers: dict[str, object]) -> None:
    assert layout(config).items() >= numbers.items()


def test_a_text_part_of_13b_keeps_as_many_heads_as_it_asks_with() -> None:
    text = LLAVA_15_7B["text_config"]
    assert isinstance(text, dict)
    larger = text | {"hidden_size": 5120, "num_attention_heads": 40, "num_hidden_layers": 40}
    assert layout(LLAVA_15_7B | {"text_config": larger})["keyValueHeads"] == 40


def test_layers_that_use_the_cache_of_others_keep_none() -> None:
    config = GPT_OSS_20B | {"num_kv_shared_layers": 10}
    assert [(layers, window) for layers, window, _ in kinds(config)] == [(7, None), (7, 128)]


def test_both_programs_run_beside_each_other_with_the_standard_library_alone(tmp_path: Path) -> None:
    """As in a pod: from a mounted folder, in an image that holds no code of ours."""
    source = Path(model_layout.__file__).parent
    for name in ("inspect_model.py", "model_layout.py"):
        (tmp_path / name).write_text((source / name).read_text())
    log = tmp_path / "log"
    ended = subprocess.run(
        [sys.executable, "-S", str(tmp_path / "inspect_model.py"), "/nowhere"],
        env={"HEARTH_TERMINATION_LOG": str(log)},
        check=False,
    )
    assert ended.returncode == 66
    assert "ModelNotFound" in log.read_text()
