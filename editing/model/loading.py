"""Loading a local Hugging Face directory, with its tokenizer, for editing and judging.

Never from the network, never with code from the directory, and only with a tokenizer that gives
character offsets (`tokens.py` stands on them).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from editing.errors import ModelError
from editing.model.architectures import Architecture, locate_parts
from editing.model.memory import ran_out


def load_model(path: Path, *, device: str | None = None, dtype: torch.dtype | None = None) -> Any:
    """The causal language model in `path`, in evaluation mode, asking for no gradients.

    `device` is `cpu`, `cuda`, … or `auto` (spread over what there is, by accelerate); by default a GPU
    if there is one.  `dtype` is by default what is stored on a GPU, fp32 on a CPU, where 16-bit
    arithmetic is far slower.  Raises ModelError.
    """
    config = _config(path)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None:
        dtype = torch.float32 if device == "cpu" else stored_dtype(config)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=dtype, device_map="auto" if device == "auto" else None, local_files_only=True
        )
        if device != "auto":
            model = model.to(device)
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError, SafetensorError) as error:
        if isinstance(error, RuntimeError) and ran_out(error):
            raise
        raise ModelError(f"cannot load the model in {path} on {device}: {_first_line(error)}") from error
    return model.eval().requires_grad_(False)


def load_tokenizer(path: Path) -> Any:
    """The tokenizer beside the model in `path`; raises ModelError if there is none with offsets."""
    _config(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, local_files_only=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(
            f"cannot load a tokenizer from {path}: {_first_line(error)}; put tokenizer.json and "
            "tokenizer_config.json beside the model"
        ) from error
    if not tokenizer.is_fast:
        raise ModelError(f"{path}: {type(tokenizer).__name__} gives no offsets; convert it to tokenizer.json")
    return tokenizer


def stored_dtype(config: dict[str, Any]) -> torch.dtype:
    """The dtype that a configuration says its weights are stored in (fp32 where it says nothing)."""
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, str(name), None)
    if not isinstance(dtype, torch.dtype):
        raise ModelError(f"config.json names the dtype {name!r}, which torch does not know")
    return dtype


def editable_tensors(path: Path, described: Architecture | None = None) -> list[str]:
    """Parameter names of W_out of every block of the model in `path`, without loading its weights.

    The architecture is looked up in the table, or is as `described`.
    Raises ModelError for a directory that is no model, ArchitectureError for one that cannot be edited.
    """
    _config(path)
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: {_first_line(error)}") from error
    parts = locate_parts(model, described)
    return [parts.weight_name(layer) for layer in range(len(parts.blocks))]


def context_length(model: Any) -> int:
    """How many tokens the model can read at once."""
    config = model.config.get_text_config()
    length = getattr(config, "max_position_embeddings", None)
    return int(length) if length else 2048


def _config(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise ModelError(f"no model directory at {path}: give the path of a local Hugging Face model")
    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_bytes())
    except OSError as error:
        raise ModelError(f"{path} has no readable config.json: it is not a Hugging Face model") from error
    except ValueError as error:
        raise ModelError(f"{path / 'config.json'} is not JSON ({error})") from error
    return config


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
