"""Loading a local Hugging Face directory, with its tokenizer, for editing and judging.

Never from the network, never with code from the directory, and only with a tokenizer that gives
character offsets (required by `tokens.py`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from editing.errors import EditingError, ModelError
from editing.model.architectures import Architecture, locate_parts
from editing.model.devices import spreading
from editing.model.directory import ModelDirectory
from editing.model.memory import ran_out
from editing.model.tokens import Readable
from editing.model.weights import refuse_unwritable

ATTENTION = ("sdpa", "eager")
"""PyTorch's own attention, fused if the architecture allows it; never a kernel named in a file."""
MANY = 1024
"""Maximum number of layers, experts or labels in a configuration, even if few tensors are stored."""
ROOM = 1 << 30
"""Values that a model may have in addition to those that are stored: buffers such as causal masks."""


NUMBERS = (
    *("hidden_size", "vocab_size", "num_hidden_layers", "max_position_embeddings"),
    *("sliding_window", "attention_chunk_size", "residual_multiplier", "scale_depth"),
)
"""Values of a configuration that are calculated with here, whether or not transformers checks them."""


_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def load_model(path: Path, *, device: str | None = None, dtype: torch.dtype | None = None) -> Any:
    """Load the causal language model in `path`, in evaluation mode, without gradients.

    `device` is `cpu`, `cuda`, …, by default a GPU if there is one.  Accelerate spreads the model over all GPUs for
    `balanced` (`auto` is the same), `balanced_low_0` and `sequential`, and evenly over some for `cuda:0,cuda:2`.
    `dtype` is by default the stored one on a GPU, and fp32 on a CPU, where 16-bit arithmetic is far slower.
    Raises ModelError.
    """
    directory = ModelDirectory.at(path)
    skeleton = _skeleton(directory)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None:
        dtype = torch.float32 if device == "cpu" else stored_dtype(directory.config)
    with _as_model_error(f"cannot load the model in {path} on {device}"):
        model, info = class_for(skeleton.config).from_pretrained(
            path,
            config=skeleton.config,
            dtype=dtype,
            attn_implementation=skeleton.config._attn_implementation,
            **spreading(device),
            output_loading_info=True,
            **_LOCAL,
        )
        if not spreading(device):
            model = model.to(device)
    absent = sorted(info["missing_keys"]) or sorted(map(str, info["mismatched_keys"]))
    if absent:
        raise ModelError(
            f"{path} lacks {len(absent)} tensors that its config.json asks for, such as {absent[0]!r}: "
            "they would be random; copy or download the model again"
        )
    refuse_unwritable(model)
    _check_ends(model, directory)
    return model.eval().requires_grad_(False)


def load_tokenizer(path: Path) -> Any:
    """Load the tokenizer of the model in `path`; raises ModelError if there is none with offsets.

    Added tokens beyond the model's embedding (Gemma 3's image token in a text-only model) are removed, so
    that no text is tokenised to them.
    """
    directory = ModelDirectory.at(path)
    config = _configuration(directory)
    with _as_model_error(
        f"cannot load a tokenizer from {path}",
        "put tokenizer.json and tokenizer_config.json beside the model",
    ):
        tokenizer = AutoTokenizer.from_pretrained(path, use_fast=True, **_LOCAL)
    if not tokenizer.is_fast:
        raise ModelError(f"{path}: {type(tokenizer).__name__} gives no offsets; convert it to tokenizer.json")
    with _as_model_error(f"cannot use the tokenizer in {path}"):
        tokenizer("", return_offsets_mapping=True)  # settings of a wrong type are found only when it is used
        _leave_out_unreadable(tokenizer, config, path)
    return tokenizer


def stored_dtype(config: dict[str, Any]) -> torch.dtype:
    """The dtype of the weights according to the configuration; fp32 if it names none."""
    name = config.get("dtype") or config.get("torch_dtype") or "float32"
    dtype = getattr(torch, name, None) if isinstance(name, str) else None
    if not isinstance(dtype, torch.dtype):
        raise ModelError(f"config.json names the dtype {name!r:.80}, which torch does not know")
    return dtype


def editable_tensors(path: Path, described: Architecture | None = None) -> list[str]:
    """Names of the W_out parameters of all blocks that have one, for the model in `path`, without loading weights.

    The architecture is found in the model's modules, or is as `described`.
    Raises ModelError if the directory is not a model, ArchitectureError if it cannot be edited.
    """
    skeleton = _skeleton(ModelDirectory.at(path))
    parts = locate_parts(skeleton, described)
    return [parts.weight_name(layer) for layer in parts.editable]


def skeleton_of(path: Path) -> Any:
    """The model in `path` without its weights, on the meta device; raises ModelError."""
    return _skeleton(ModelDirectory.at(path))


def context_length(model: Any, unstated: int = 2048) -> int:
    """Maximum number of tokens that the model can read at once; `unstated` if its configuration gives none.

    Zero and negative lengths (XLNet has -1) stand for none.
    """
    config = model.config.get_text_config()
    length = int(getattr(config, "max_position_embeddings", None) or 0)
    return length if length > 0 else unstated


def readable(model: Any) -> Readable:
    """What the model can read: the maximum length in tokens, and the ids in its embedding."""
    return Readable(context_length(model), int(model.get_input_embeddings().weight.shape[0]))


def _configuration(directory: ModelDirectory) -> Any:
    """config.json as parsed by transformers, after checking that its sizes are bounded."""
    config = _concrete(directory.config)
    stored_dtype(config)
    stored = _stored_tensors(directory)
    for key, value in _counts(config):
        if value > max(stored, MANY):
            raise ModelError(
                f"{directory.path}: config.json has {key} = {value!r:.40}, but the weights hold {stored} tensors: "
                "copy or download the model again"
            )
    with (
        _as_model_error(
            f"{directory.path / 'config.json'} does not describe a model that transformers can build"
        ),
        TemporaryDirectory() as alone,  # what was checked is what is read, and nothing beside it
    ):
        Path(alone, "config.json").write_text(json.dumps(config), encoding="utf-8")
        found = AutoConfig.from_pretrained(alone, **_LOCAL)
        text = found.get_text_config()
        for name in NUMBERS:
            _check_number(name, getattr(text, name, None), directory)
    return found


def _check_ends(model: Any, directory: ModelDirectory) -> None:
    """Refuse generation settings in which what ends a text is neither an id nor a list of ids."""
    ends = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if not all(end is None or isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends])):
        raise ModelError(
            f"{directory.path}: generation_config.json has eos_token_id = {ends!r:.40}, which is neither a token's id "
            "nor a list of ids: copy or download the model again"
        )


def _check_number(name: str, value: object, directory: ModelDirectory) -> None:
    """Refuse a value that is neither absent nor a number that a tensor's size or a factor can be."""
    if value is not None and not (isinstance(value, int | float) and abs(value) < 1 << 63):
        raise ModelError(
            f"{directory.path}: config.json has {name} = {value!r:.40}, which is not a number that can be used: "
            "copy or download the model again"
        )


def _concrete(config: dict[str, Any]) -> dict[str, Any]:
    """`config` without `dtype: "auto"`, which stands for the stored dtype."""
    return {
        key: _concrete(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if not (key in ("dtype", "torch_dtype") and value == "auto")
    }


def _counts(config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """The numbers in a configuration that determine how many modules or entries are created."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _counts(value)
        elif isinstance(value, int | float) and any(word in key for word in ("layer", "expert", "label")):
            yield key, value


def _stored_tensors(directory: ModelDirectory) -> int:
    """Number of tensors in the weight files."""
    count = 0
    for path in directory.weight_files():
        with (
            _as_model_error(f"cannot load the model: {path} is not a complete safetensors file"),
            safe_open(path, framework="pt") as file,
        ):
            count += len(file.keys())
    return count


def _skeleton(directory: ModelDirectory) -> Any:
    """The model without its weights (on the meta device), built with the attention it will be loaded with."""
    config = _configuration(directory)
    with _as_model_error(f"{directory.path / 'config.json'} does not describe a causal language model"):
        skeleton = _built(config)
        values = sum(tensor.numel() for tensor in (*skeleton.parameters(), *skeleton.buffers()))
    stored = sum(path.stat().st_size for path in directory.weight_files())
    if values > 2 * stored + ROOM:
        raise ModelError(
            f"{directory.path}: config.json describes a model of {values:.3g} values, but {stored:.3g} bytes "
            "of weights are stored: copy or download the model again"
        )
    return skeleton


def class_for(config: Any) -> Any:
    """The class that builds a text-only model from this configuration.

    Transformers lists most models with vision as image-and-text models; their language model is used without
    images.
    """
    seeing = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    causal = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING
    return AutoModelForImageTextToText if seeing and not causal else AutoModelForCausalLM


def _built(config: Any) -> Any:
    kind = class_for(config)
    *fused, last = ATTENTION
    with torch.device("meta"):
        for attention in fused:
            with suppress(ValueError, ImportError):
                return kind.from_config(
                    copy.deepcopy(config), attn_implementation=attention, trust_remote_code=False
                )
        return kind.from_config(config, attn_implementation=last, trust_remote_code=False)


def _leave_out_unreadable(tokenizer: Any, config: Any, path: Path) -> None:
    """Drop the added tokens that have no row in the embedding; raises ModelError if other tokens have none."""
    size = int(config.get_text_config().vocab_size)
    backend = tokenizer.backend_tokenizer
    largest = max(backend.get_vocab(with_added_tokens=False).values(), default=-1)
    if largest >= size:
        raise ModelError(
            f"{path}: the tokenizer has ids up to {largest}, the embedding {size} rows: it belongs to another model"
        )
    if all(id < size for id in backend.get_added_tokens_decoder()):
        return
    content = json.loads(backend.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < size]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(content))


@contextmanager
def _as_model_error(what: str, advice: str = "copy or download the model again") -> Iterator[None]:
    """Convert errors that transformers, tokenizers or safetensors raise about a file's contents to ModelError.

    Their errors may be of any kind, including a panic of Rust code, which is not an Exception.  Out-of-memory
    errors pass unchanged, since the files are not the cause.
    """
    try:
        yield
    except (EditingError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, RuntimeError) and ran_out(error):
            raise
        raise ModelError(f"{what}: {_first_line(error)}; {advice}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise ModelError(f"{what}: {_first_line(error)}; {advice}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
