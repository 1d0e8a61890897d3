"""The form `adapter`: the candidate as a LoRA adapter over the unedited base, written by peft.

    adapter_config.json          a `LoraConfig`: the edited W_out, one rank for all of them, scaling 1
    adapter_model.safetensors    A (r, d_in) and B (d_out, r) of each in fp32, with ΔW = B A

Each ΔW is factorised by its singular values down to the rounding of the weights that it was computed from, so the
adapter is exact up to that rounding unless `max_rank` is smaller: then it is the best fit of that rank (Eckart and
Young, 1936).  The common rank is rounded up to one that vLLM serves.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.errors import CheckpointError
from editing.storage.manifest import read_manifest

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, FILE = "adapter_config.json", "adapter_model.safetensors"
MAX_RANK = 512
SERVED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's `--max-lora-rank`."""
_WEIGHT, _INNER = ".weight", "base_model.model."
_CARD = "README.md"
"""A template that peft writes and nobody fills in."""


@dataclass(frozen=True)
class Factors:
    """ΔW ≈ B A of one linear map, ΔW as (d_out, d_in)."""

    a: Tensor
    """(k, d_in)"""
    b: Tensor
    """(d_out, k)"""
    rank: int
    """The numerical rank of ΔW."""
    error: float
    """‖ΔW − B A‖ / ‖ΔW‖ (Frobenius)."""


def is_available() -> bool:
    """Whether peft is installed."""
    return find_spec("peft") is not None


def write_adapter(
    base: Path, tensors: Mapping[str, Tensor], directory: Path, *, max_rank: int = MAX_RANK
) -> dict[str, float]:
    """Write the adapter that makes `tensors` of `base`; a `Form`.

    Returns its rank, the numerical rank that ΔW needs, and the relative error of the fit (the largest of all W_out).
    Raises CheckpointError if peft is not installed, or if something else than a linear map was changed.
    """
    from editing.model.loading import skeleton_of

    if not is_available():
        raise CheckpointError("the form 'adapter' needs the package peft: `pip install 'kbsync[adapter]'`")
    model = skeleton_of(base)
    factors, transposed = {}, False
    for name, (update, noise) in _updates(base, tensors).items():
        module, transposed = _linear(model, name)
        factors[module] = factorised(update.T if transposed else update, noise, max_rank)
    rank = served_rank(max(one.a.shape[0] for one in factors.values()), max_rank)
    _write(model, factors, rank, directory, fan_in_fan_out=transposed, base=read_manifest(base).digest)
    return {
        "rank": float(rank),
        "needed_rank": float(max(one.rank for one in factors.values())),
        "relative_error": max(one.error for one in factors.values()),
    }


def read_adapter(directory: Path) -> dict[str, Tensor]:
    """ΔW of each edited parameter by its name in the base, in the shape in which it is stored there, in fp32."""
    from safetensors.torch import load_file

    config = json.loads((directory / CONFIG).read_bytes())
    stored = load_file(directory / FILE)
    scaling = config["lora_alpha"] / config["r"]
    found = {}
    for key, a in stored.items():
        if key.endswith(f".lora_A{_WEIGHT}"):
            module = key.removeprefix(_INNER).removesuffix(f".lora_A{_WEIGHT}")
            update = stored[f"{_INNER}{module}.lora_B{_WEIGHT}"] @ a * scaling
            found[f"{module}{_WEIGHT}"] = update.T if config["fan_in_fan_out"] else update
    return found


def factorised(update: Tensor, noise: float, max_rank: int) -> Factors:
    """The factors of ΔW (d_out, d_in) of at most this rank; singular values up to `noise` count as zero."""
    import torch

    u, values, v = torch.linalg.svd(update, full_matrices=False)
    rank = int((values > noise).sum())
    kept = min(rank, max_rank)
    root = values[:kept].sqrt()
    norm, left = float(values.norm()), float(values[kept:].norm())
    return Factors(root[:, None] * v[:kept], u[:, :kept] * root, rank, left / norm if norm else 0.0)


def served_rank(rank: int, max_rank: int = MAX_RANK) -> int:
    """The smallest rank that vLLM serves and that holds `rank`, but not above `max_rank`."""
    return min(next((one for one in SERVED_RANKS if one >= rank), rank), max(max_rank, 1))


def _updates(base: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, float]]:
    """ΔW of each changed parameter in fp64, with the spectral norm that rounding alone gives it.

    A candidate that changes nothing has one ΔW, of zeros: peft has no empty adapter.
    """
    import torch

    from editing.storage.checkpoints import read_editable

    names = sorted(tensors) or sorted(read_manifest(base).editable)[:1]
    before = read_editable(base, names)
    found = {}
    for name in names:
        after = tensors.get(name, before[name])
        new = after.double()
        # The expected largest singular value of independent errors (Davidson and Szarek, 2001).
        spread = sum(math.sqrt(size) for size in new.shape)
        noise = torch.finfo(after.dtype).eps * float(new.square().mean().sqrt()) * spread
        found[name] = new - before[name].to(new.device, torch.float64), noise
    return found


def _linear(model: Any, name: str) -> tuple[str, bool]:
    """The module of a weight, and whether it is stored as (d_in, d_out)."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    path = name.removesuffix(_WEIGHT)
    module = model.get_submodule(path)
    if path == name or not isinstance(module, nn.Linear | Conv1D):
        raise CheckpointError(
            f"{name!r} is not the weight of a linear map, as an adapter needs it: leave it out of [deliver] as"
        )
    return path, isinstance(module, Conv1D)


def _write(
    model: Any, factors: Mapping[str, Factors], rank: int, directory: Path, *, fan_in_fan_out: bool, base: str
) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(factors),
        fan_in_fan_out=fan_in_fan_out,
        inference_mode=True,
    )
    with warnings.catch_warnings():
        # peft reads attributes that transformers deprecates, and notes that a skeleton has no name.
        warnings.simplefilter("ignore")
        adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
        adapted.peft_config["default"].base_model_name_or_path = base
        for module, one in factors.items():
            layer = adapted.get_submodule(f"{_INNER}{module}")
            a = torch.zeros(rank, one.a.shape[1])
            b = torch.zeros(one.b.shape[0], rank)
            a[: one.a.shape[0]], b[:, : one.b.shape[1]] = one.a, one.b
            layer.lora_A["default"].weight = torch.nn.Parameter(a, requires_grad=False)
            layer.lora_B["default"].weight = torch.nn.Parameter(b, requires_grad=False)
        adapted.save_pretrained(directory, save_embedding_layers=False)
    (directory / _CARD).unlink(missing_ok=True)
