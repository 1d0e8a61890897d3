"""A tiny random model of every causal family that transformers knows, its configuration drawn up by rule.

A family's own default configuration says which attributes it has; those that decide a size are made small,
in nested configurations too.  Only what cannot be had by rule is written down per family.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)

CAUSAL = tuple(sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
SEEING = (
    "mistral3",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "llava",
    "llava_next",
    "internvl",
    "idefics3",
    "smolvlm",
)
"""Vision-language families whose text tower is loaded by the class for images and text."""

DEPTH = 4
WIDTH = 32
HEADS = 4
VOCABULARY = 420
LARGEST = 5_000_000
"""Parameters of a model that is still called tiny."""

SIZES: dict[str, Any] = {
    **dict.fromkeys(
        ("hidden_size", "d_model", "n_embd", "emb_dim", "dim", "embed_dim", "embedding_size"), WIDTH
    ),
    **dict.fromkeys(
        ("decoder_hidden_size", "word_embed_proj_dim", "input_size", "lru_width", "d_embed"), WIDTH
    ),
    **dict.fromkeys(("attention_hidden_size", "attention_size", "hidden_dim", "ple_hidden_size"), WIDTH),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), DEPTH),
    **dict.fromkeys(("encoder_layers", "num_decoder_layers", "num_encoder_layers", "num_blocks"), DEPTH),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"), HEADS
    ),
    **dict.fromkeys(("encoder_attention_heads", "num_decoder_attention_heads"), HEADS),
    **dict.fromkeys(("num_key_value_heads", "num_kv_heads", "multi_query_group_num"), 2),
    **dict.fromkeys(
        ("intermediate_size", "ffn_dim", "decoder_ffn_dim", "encoder_ffn_dim", "n_inner", "dim_ff", "dff"), 64
    ),
    **dict.fromkeys(
        ("feed_forward_size", "shared_intermediate_size", "mlp_hidden_size", "ffn_hidden_size"), 64
    ),
    **dict.fromkeys(
        ("moe_intermediate_size", "shared_expert_intermediate_size", "intermediate_size_mlp"), 48
    ),
    **dict.fromkeys(("moe_shared_expert_intermediate_size", "expert_ffn_hidden_size", "block_ff_dim"), 48),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        ("num_experts_per_tok", "num_experts_per_token", "moe_k", "top_k", "experts_per_token"), 2
    ),
    **dict.fromkeys(("n_group", "topk_group"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 2),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size"), VOCABULARY),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length"), 128),
    **dict.fromkeys(("max_target_positions", "max_seq_len", "max_source_positions", "block_size"), 128),
    **dict.fromkeys(("head_dim", "qk_nope_head_dim", "v_head_dim", "attention_head_dim", "kv_channels"), 8),
    **dict.fromkeys(("d_kv", "linear_key_head_dim", "linear_value_head_dim", "global_head_dim"), 8),
    **dict.fromkeys(("swa_head_dim", "swa_v_head_dim", "index_head_dim", "d_head"), 8),
    **dict.fromkeys(("qk_rope_head_dim", "rotary_dim"), 4),
    **dict.fromkeys(
        ("q_lora_rank", "kv_lora_rank", "o_lora_rank", "hidden_size_per_layer_input", "moe_latent_size"), 16
    ),
    **dict.fromkeys(
        ("linear_num_key_heads", "linear_num_value_heads", "mamba_n_heads", "mamba_num_heads"), 4
    ),
    **dict.fromkeys(("mamba_d_state", "state_size", "ssm_state_size", "mamba_d_head", "mamba_head_dim"), 16),
    **dict.fromkeys(("n_mamba_heads", "mamba_n_groups", "n_groups", "mamba_ngroups"), 1),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("sliding_window", "attention_window_size", "chunk_size", "attention_chunk_size"), 64),
    "query_pre_attn_scalar": 8,
    "image_size": 32,
    "patch_size": 16,
    "depth": 2,
    "layer_types": None,
    "mlp_layer_types": None,
    "rope_parameters": None,
    "rope_scaling": None,
    "pad_token_id": 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "rms_norm_eps": 1e-12,
    "layer_norm_eps": 1e-12,
    "norm_eps": 1e-12,
}
"""What an attribute of this name is set to.  Norms with hardly any ε, since a pseudo-inverse is compared."""


MADE_DECODERS = (
    *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie"),
    *("megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"),
    *("xlm-roberta", "xlm-roberta-xl", "xmod", "reformer"),
)
"""Families of encoders, which are causal only where the configuration says so."""

_MROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}}

SPECIAL: dict[str, dict[str, Any]] = {
    "xmod": {"default_language": "en_XX"},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 64},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_d_head": 16},
    "mamba2": {"num_heads": 4, "head_dim": 16},
    "zaya": {"num_experts_per_tok": 1},
    "dots3_note_text": {"num_key_value_heads": 4},
    "gemma4_text": {"hidden_size_per_layer_input": 0},
    "gemma3n_text": {"num_kv_shared_layers": 0, "layer_types": ["full_attention"] * DEPTH},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "deepseek_v2": {"topk_method": "greedy"},
    "qwen2_vl": {"text_config": _MROPE},
    "qwen2_5_vl": {"text_config": _MROPE},
    "gemma4": {"text_config": {"hidden_size_per_layer_input": 0}},
    "nemotron": {"num_key_value_heads": 2},
    "xlnet": {"attn_type": "uni"},
}
"""What a family needs beyond the rule."""


def tiny_config(kind: str) -> Any:
    """The configuration of a tiny model of this family."""
    default = CONFIG_MAPPING[kind]
    decoder = {"is_decoder": True} if kind in MADE_DECODERS else {}
    sizes = _small(default()) | decoder
    for name, value in SPECIAL.get(kind, {}).items():
        sizes[name] = sizes.get(name, {}) | value if name.endswith("_config") else value
    return default(**sizes)


def _small(config: Any) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    known = config.to_dict()
    for name, value in SIZES.items():
        if name in known and known[name] is not None:
            changes[name] = value
    if "qk_rope_head_dim" in known:  # latent attention: what is rotated is as wide as a head's position part
        changes |= {name: 4 for name in ("head_dim", "num_key_value_heads") if name in changes}
    for name in getattr(type(config), "sub_configs", {}):
        inner = getattr(config, name, None)
        if inner is not None:
            changes[name] = _small(inner)
    return changes


def tiny_family(kind: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    """A random model of this family, its weights large enough that attention and MLPs matter."""
    config = tiny_config(kind)
    auto = AutoModelForCausalLM if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES else AutoModelForImageTextToText
    with torch.device("meta"):
        size = sum(weight.numel() for weight in _built(auto, config, "eager").parameters())
    if size > LARGEST:
        raise ValueError(f"{kind} has {size} parameters where all that the rule knows is small")
    torch.manual_seed(seed)
    try:
        model = _built(auto, config, "sdpa")
    except ValueError:  # no fused attention in this family
        model = _built(auto, config, "eager")
    model = model.to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.1 * noise)
    return model


def _built(auto: Any, config: Any, attention: str) -> Any:
    return auto.from_config(
        copy.deepcopy(config), attn_implementation=attention, experts_implementation="eager"
    )
