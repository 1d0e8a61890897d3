"""A Llama checkpoint as a GGUF file for llama.cpp: what its `convert_hf_to_gguf.py` does for this architecture.

The script is part of llama.cpp's sources, not of the package `gguf`, which has the names of tensors and the rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.constants import GGMLQuantizationType, TokenType
from numpy.typing import NDArray
from safetensors import safe_open

TYPES = {
    "q8_0": GGMLQuantizationType.Q8_0,
    "q4_0": GGMLQuantizationType.Q4_0,
    "f32": GGMLQuantizationType.F32,
}
"""How matrices are stored."""


def convert(checkpoint: Path, out: Path, kind: str) -> None:
    """Write the checkpoint's weights and byte-level BPE to `out`, matrices as `kind`, vectors in fp32."""
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(out, "llama")
    _describe(writer, config)
    _add_tokens(writer, config, json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8")))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, tensor in _tensors(checkpoint):
        turned = _turned(name, tensor, config)
        stored = names.get_name(name, try_suffixes=(".weight",))
        assert stored is not None, name
        if turned.ndim == 2:
            writer.add_tensor(stored, gguf.quants.quantize(turned, TYPES[kind]), raw_dtype=TYPES[kind])
        else:
            writer.add_tensor(stored, turned)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokens(writer: gguf.GGUFWriter, config: dict[str, Any], tokenizer: dict[str, Any]) -> None:
    special = {token["id"]: token["content"] for token in tokenizer["added_tokens"]}
    texts = {id: text for text, id in tokenizer["model"]["vocab"].items()} | special
    ids = range(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([texts[id] for id in ids])
    writer.add_token_types([TokenType.CONTROL if id in special else TokenType.NORMAL for id in ids])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(False)


def _tensors(checkpoint: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Every tensor by its name, from one file or from shards."""
    index = checkpoint / "model.safetensors.index.json"
    files = {"model.safetensors"}
    if index.exists():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    for file in sorted(files):
        with safe_open(checkpoint / file, "np") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                yield name, tensors.get_tensor(name).astype(np.float32)


def _turned(name: str, tensor: NDArray[np.float32], config: dict[str, Any]) -> NDArray[np.float32]:
    """Rows of queries and keys in llama.cpp's order, which rotates neighbouring pairs instead of halves."""
    for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
        if part in name:
            halves = tensor.reshape(config[heads], 2, -1, tensor.shape[-1])
            return halves.swapaxes(1, 2).reshape(tensor.shape)
    return tensor
