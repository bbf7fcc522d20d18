"""What config.json says about a model's shape, in our names: widths, heads, and what its layers keep of every token.

Follows vLLM 0.32: transformers_utils/model_arch_config_convertor.py for names, v1/kv_cache_interface.py for the cache.
Where the file leaves out what the cache depends on, nothing is guessed: vLLM then decides, and the plan says so.
Runs with Python's standard library alone, beside inspect_model.py.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

TEXT_PARTS = ("text_config", "llm_config", "language_config")
"""Where a model of several modalities keeps the configuration of its text part."""

NAMES = {
    "hiddenSize": ("hidden_size", "n_embd", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "vocabularySize": ("vocab_size", "padded_vocab_size"),
}
HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")
KEY_VALUE_HEADS = (
    "n_head_kv",
    "num_kv_heads",
    "num_key_value_heads",
    "multi_query_group_num",
    "num_attention_groups",
)
LENGTHS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "n_ctx",
    "seq_length",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
UNNAMED_LENGTH = 2048
"""What vLLM takes where config.json names no length (vllm/config/model.py _get_and_verify_max_len)."""

# Hidden size, feed-forward, layers, heads, key/value heads, width of a head, vocabulary, positions: what transformers
# 5.23 fills in where the text part of a model of several modalities leaves it out, as save_pretrained lets it do.
LEFT_OUT: dict[str, tuple[int, int, int, int, int | None, int | None, int, int]] = {
    "llama": (4096, 11008, 32, 32, None, None, 32000, 2048),
    "mistral": (4096, 14336, 32, 32, 8, None, 32000, 131072),
    "mixtral": (4096, 14336, 32, 32, 8, None, 32000, 131072),
    "qwen2": (4096, 22016, 32, 32, 32, None, 151936, 32768),
    "qwen3": (4096, 22016, 32, 32, 32, 128, 151936, 32768),
    "qwen2_vl_text": (8192, 29568, 80, 64, 8, None, 152064, 32768),
    "qwen2_5_vl_text": (8192, 29568, 80, 64, 8, None, 152064, 32768),
    "qwen3_vl_text": (4096, 22016, 32, 32, 32, 128, 151936, 128000),
    "phi3": (3072, 8192, 32, 32, None, None, 32064, 4096),
    "gemma": (3072, 24576, 28, 16, 16, 256, 256000, 8192),
    "gemma2": (2304, 9216, 26, 8, 4, 256, 256000, 8192),
    "gemma3_text": (2304, 9216, 26, 8, 4, 256, 262208, 131072),
}
LEFT_OUT_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
)

PATTERNS = {"gemma2": 2, "gemma3_text": 6, "cohere2": 4, "gpt_oss": 2}
"""Every how many layers one looks at all tokens and the others at a window, where `layer_types` is left out."""
WINDOWS = {"gemma2": 4096, "gemma3_text": 4096, "cohere2": 4096, "gpt_oss": 128}
WINDOWED, OTHERS = "sliding_attention", {"full_attention", "chunked_attention"}
"""Chunks are kept in full: vLLM turns its hybrid cache off for them (vllm/config/vllm.py, attention_chunk_size)."""

LATENT = (
    "axk1",
    "deepseek_v2",
    "deepseek_v3",
    "glm4_moe_lite",
    "kimi_k2",
    "pangu_ultra_moe",
)
"""Types whose multi-head latent attention vLLM keeps as a latent (is_deepseek_mla); others may keep whole heads."""

ENCODERS = ("bert", "gte", "mpnet", "electra", "siglip", "clip")
"""Parts of the names of models that read a text at once and keep nothing of it. (NewModel is gte-multilingual's.)"""

RECURRENT = (
    "attn_layer_indices",
    "attn_layer_period",
    "attn_type_list",
    "block_types",
    "conv_L_cache",
    "full_attn_idxs",
    "hybrid_override_pattern",
    "layers_block_type",
    "linear_attn_config",
    "linear_num_key_heads",
    "mamba_d_ssm",
    "mamba_d_state",
    "ssm_state_size",
    "state_size",
    "time_step_rank",
)
"""Keys of models some of whose layers keep a state of fixed size in place of every token."""


def text_part(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of the part that reads and writes text, with what it leaves out."""
    part = next((config[k] for k in TEXT_PARTS if isinstance(config.get(k), dict)), None)
    if part is None:
        return config
    kind = part.get("model_type") or ("llama" if str(config.get("model_type")).startswith("llava") else "")
    left_out = dict(zip(LEFT_OUT_KEYS, LEFT_OUT.get(kind, ()), strict=False))
    return {**left_out, **config, **part, "model_type": kind or config.get("model_type")}


def layout(config: dict[str, Any]) -> dict[str, Any]:
    """The numbers of config.json under our names. Raises KeyError, with the name, for one that no plan can do without.

    Without heads their number is left open, and what is kept of every token too.
    """
    flat = text_part(config)
    found: dict[str, Any] = {}
    for ours, theirs in NAMES.items():
        found[ours] = _number(flat, theirs)
        if found[ours] is None:
            raise KeyError(theirs[0])
    found["maxPositionEmbeddings"] = flat.get("model_max_length") or _shortest(flat)
    found["intermediateSize"] = (
        _number(flat, ("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim")) or 4 * found["hiddenSize"]
    )
    found["architecture"] = (config.get("architectures") or ["unknown"])[0]
    found["modelType"] = str(flat.get("model_type") or config.get("model_type") or "unknown")
    heads = _number(flat, HEADS)
    if heads:
        found["attentionHeads"] = heads
        found["keyValueHeads"] = key_value_heads(flat, heads)
        found["headDim"] = head_width(flat, found["hiddenSize"], heads)
    found["kvCache"] = cache_layout(flat, found)
    return found


def key_value_heads(flat: dict[str, Any], heads: int) -> int:
    """Heads whose keys and values are kept: one, a group, or all."""
    if not flat.get("new_decoder_architecture") and flat.get("multi_query"):
        return 1  # Falcon, GPTBigCode
    if flat.get("multi_query_attention") is False:  # ChatGLM names a number of groups that it does not use
        return heads
    attention = flat.get("attn_config")
    inside = attention.get("kv_n_heads") if isinstance(attention, dict) else None  # DBRX
    return inside or _number(flat, KEY_VALUE_HEADS) or heads


def head_width(flat: dict[str, Any], hidden: int, heads: int) -> int:
    """Width of one head's query and key."""
    if flat.get("kv_lora_rank") and flat.get("qk_rope_head_dim"):
        return int(flat.get("qk_nope_head_dim") or 0) + int(flat["qk_rope_head_dim"])
    return flat.get("head_dim") or flat.get("hidden_size_per_head") or hidden // heads


def cache_layout(flat: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """Which layers keep what of every token, or why that is not known."""
    name = f"{found['modelType']} {found['architecture']}".lower()
    if any(part in name for part in ENCODERS) or found["architecture"] == "NewModel":
        return {"layers": []}
    kinds = flat.get("layer_types")
    strange = sorted({str(k) for k in kinds} - {WINDOWED} - OTHERS) if isinstance(kinds, list) else []
    recurrent = [key for key in RECURRENT if flat.get(key)]
    if recurrent or strange:
        return {"unknown": f"some layers keep a state of another form ({(recurrent + strange)[0]})"}
    if flat.get("index_head_dim") or flat.get("compress_ratios"):
        return {"unknown": "sparse attention keeps an index beside what every token leaves"}
    if flat.get("global_head_dim") or flat.get("block_configs"):
        return {"unknown": "its layers differ in the width of their heads"}
    if flat.get("is_encoder_decoder"):
        return {"unknown": "it keeps what its encoder read too"}
    if flat.get("kv_lora_rank") and flat.get("model_type") not in LATENT:
        return {"unknown": f"latent attention of the type {found['modelType']} is not known here"}
    if "attentionHeads" not in found:
        return {"unknown": "config.json has no num_attention_heads"}
    return {"layers": _layers(flat, found)}


def _layers(flat: dict[str, Any], found: dict[str, Any]) -> list[dict[str, int]]:
    if flat.get("kv_lora_rank") and flat.get("qk_rope_head_dim"):
        # Multi-head latent attention: one latent and one rotary key for all heads (MLAAttentionSpec).
        width = flat["kv_lora_rank"] + flat["qk_rope_head_dim"]
        return [{"layers": found["layers"], "heads": 1, "width": width}]
    width = found["headDim"] + (flat.get("v_head_dim") or found["headDim"])
    windows = _windows(flat, found["layers"])
    owned = windows[: len(windows) - (flat.get("num_kv_shared_layers") or 0)]  # the last ones use the others' cache
    kept = Counter(owned)
    return [
        {"layers": count, "heads": found["keyValueHeads"], "width": width} | ({"window": window} if window else {})
        for window, count in sorted(kept.items(), key=lambda item: item[0] or 0)
    ]


def _windows(flat: dict[str, Any], layers: int) -> list[int | None]:
    """The window of every layer; None for those that look at all tokens."""
    kind = str(flat.get("model_type"))
    window = flat.get("sliding_window") or (WINDOWS.get(kind) if "sliding_window" not in flat else None)
    used = flat.get("use_sliding_window", not kind.startswith("qwen"))
    if not window or not used or flat.get("attention_chunk_size"):
        return [None] * layers
    kinds, pattern = flat.get("layer_types"), flat.get("sliding_window_pattern") or PATTERNS.get(kind)
    if isinstance(kinds, list):
        return [window if k == WINDOWED else None for k in kinds]
    if isinstance(pattern, int):
        return [window if (i + 1) % pattern else None for i in range(layers)]
    if flat.get("use_sliding_window"):
        first = flat.get("max_window_layers") or 0
        return [window if i >= first else None for i in range(layers)]
    return [window] * layers


def _number(flat: dict[str, Any], names: tuple[str, ...]) -> int | None:
    return next((flat[k] for k in names if isinstance(flat.get(k), int)), None)


def _shortest(flat: dict[str, Any]) -> int:
    """The shortest of the lengths that are named, as vLLM takes it."""
    return min((flat[k] for k in LENGTHS if isinstance(flat.get(k), int)), default=UNNAMED_LENGTH)
