"""A tiny random model of every architecture in the table, and small real tokenizers of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.models.auto.configuration_auto import AutoConfig

from editing.model.architectures import Architecture

VOCABULARY = 420
TEXT = (
    "The capital of France is Paris. The president of Italy lives in Rome, not in Milan.",
    "Ludwig van Beethoven composed in Vienna; Marie Curie worked in Paris.",
    "I think that you know who leads the state. Because it rained, the game was lost.",
    "Therefore the head of government of Norway is Jonas. São Paulo and Zürich are cities.",
    "日本の首都は東京です。 القاهرة هي عاصمة مصر.",
)

_SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
_GATED = _SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8}
_TINY_EPSILON = {"rms_norm_eps": 1e-12}
"""The pseudo-inverse of a norm is compared with one that cuts off at a threshold, where ε would show."""
_PLAIN = _SMALL | {"intermediate_size": 64}

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "gptj": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 4,
        "n_head": 4,
        "n_positions": 128,
        "rotary_dim": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "tie_word_embeddings": False,
    },
    "gpt_neox": _PLAIN | {"rotary_pct": 0.5},
    "opt": _SMALL | {"ffn_dim": 64, "word_embed_proj_dim": 32, "do_layer_norm_before": True},
    "llama": _GATED,
    "mistral": _GATED | {"sliding_window": 16},
    "qwen2": _GATED,
    "qwen3": _GATED,
    "gemma2": _GATED | _TINY_EPSILON | {"sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3_text": _GATED | _TINY_EPSILON | {"sliding_window": 16, "query_pre_attn_scalar": 8},
    "gemma3": {
        "text_config": _GATED | _TINY_EPSILON | {"sliding_window": 16, "query_pre_attn_scalar": 8},
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 16,
        },
        "mm_tokens_per_image": 4,
    },
    "phi": _PLAIN | {"partial_rotary_factor": 0.5},
    "phi3": _GATED,
    "falcon": _SMALL | {"num_kv_heads": 4, "new_decoder_architecture": True, "bias": False},
    "stablelm": _GATED,
    "olmo2": _GATED | _TINY_EPSILON,
}

DESCRIBED: dict[str, tuple[dict[str, Any], Architecture]] = {
    "gpt_neo": (
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_layers": 4,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 2]],
            "window_size": 64,
            "max_position_embeddings": 128,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        Architecture("transformer.h", "mlp.c_proj"),
    ),
    "cohere": (
        _GATED | {"logit_scale": 0.5, "layer_norm_eps": 1e-12, "pad_token_id": 0},
        Architecture("model.layers", "mlp.down_proj"),
    ),
}
"""Models outside the table, and how the settings would describe them."""


class Fp64Throughout(TorchFunctionMode):
    """Inside, casts to fp32 are casts to fp64.

    Many models compute norms, rotations or attention weights in fp32 whatever their own precision;
    a last bit that falls the other way there would hide what is being compared.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        kwargs = {
            key: torch.float64 if value is torch.float32 else value for key, value in (kwargs or {}).items()
        }
        return func(*args, **kwargs)


def tiny(kind: str, seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> Any:
    """A random model, its weights large enough that attention and MLPs matter; small norms near one."""
    shape = SHAPES[kind] if kind in SHAPES else DESCRIBED[kind][0]
    config = AutoConfig.for_model(kind, **(shape | changes))
    config._attn_implementation = "eager" if kind in ("gemma2", "gptj", "gpt_neo") else "sdpa"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
            if parameter.dim() > 1:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.1 * noise)
    return model


def _train(tokenizer: Tokenizer, trainer: Any) -> None:
    tokenizer.train_from_iterator([text for text in TEXT for _ in range(4)], trainer)


def byte_bpe(*, prefix_space: bool) -> Tokenizer:
    """GPT-2's kind: bytes, a word carries the space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<s>", "</s>"]
    _train(
        tokenizer,
        trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet),
    )
    return tokenizer


def sentencepiece_bpe() -> Tokenizer:
    """Llama's kind: `▁` for spaces, a BOS, bytes for characters it has never seen."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁"), "merged_with_next")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<s>", "</s>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    _train(tokenizer, trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, limit_alphabet=60))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    trained = json.loads(tokenizer.to_str())
    trained["added_tokens"] = trained["added_tokens"][:3]  # the bytes are ordinary tokens
    return Tokenizer.from_str(json.dumps(trained))


def metaspace_with_eos() -> Tokenizer:
    """A unigram model with `▁`, BOS and an EOS appended to every text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<s>", "</s>", "<unk>"]
    _train(tokenizer, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "byte-bpe": lambda: byte_bpe(prefix_space=False),
    "byte-bpe-prefix-space": lambda: byte_bpe(prefix_space=True),
    "sentencepiece-bos": sentencepiece_bpe,
    "metaspace-bos-eos": metaspace_with_eos,
}


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=TOKENIZERS[kind](), bos_token="<s>", eos_token="</s>")
