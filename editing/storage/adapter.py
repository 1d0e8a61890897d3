"""The form `adapter`: the candidate as a LoRA adapter over the unedited base, written by peft.

    adapter_config.json          a `LoraConfig`: the edited W_out, one rank for all of them, scaling 1
    adapter_model.safetensors    A (r, d_in) and B (d_out, r) of each in the base's dtype, with ΔW = B A

Each ΔW is factorised by its singular values down to the rounding of the weights that it was computed from, so the
adapter is exact up to that rounding unless `max_rank` is smaller.  Editors that solve least squares then give an
update of that rank already, the best in the metric of their solve (`editing/memit/low_rank.py`); of others' it is the
closest of that rank (Eckart and Young, 1936).  The common rank is rounded up to one that vLLM serves.

Servers hold the factors in the dtype of the model, so they are rounded to it here; the candidate's other forms are the
base with these factors added, so that what is judged is what an adapter's server computes.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.errors import CheckpointError
from editing.storage.manifest import read_manifest

if TYPE_CHECKING:
    import torch
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

    def to(self, dtype: torch.dtype) -> Factors:
        """Rounded to `dtype`."""
        return replace(self, a=self.a.to(dtype), b=self.b.to(dtype))


def is_available() -> bool:
    """Whether peft is installed."""
    return find_spec("peft") is not None


@dataclass(frozen=True)
class Adapter:
    """Factors of all edited matrices; a `Form` that writes them."""

    base: Path
    model: Any
    """The base without weights."""
    factors: dict[str, Factors]
    """By module; in the dtype of the base."""
    max_rank: int
    transposed: bool
    """Whether weights are stored as (d_in, d_out)."""

    @property
    def rank(self) -> int:
        """The common rank of all matrices, one that vLLM serves."""
        return served_rank(max(one.a.shape[0] for one in self.factors.values()), self.max_rank)

    def merged(self) -> dict[str, Tensor]:
        """The base's tensors with the adapter added, by parameter name, in fp64."""
        import torch

        from editing.storage.checkpoints import read_editable

        found = read_editable(self.base, [f"{module}{_WEIGHT}" for module in self.factors])
        for module, one in self.factors.items():
            update = one.b.to(torch.float64) @ one.a.to(torch.float64)
            before = found[f"{module}{_WEIGHT}"].double()
            found[f"{module}{_WEIGHT}"] = before + (update.T if self.transposed else update).to(before)
        return found

    def __call__(
        self, base: Path, tensors: Mapping[str, Tensor], directory: Path, **options: int
    ) -> dict[str, float]:
        _write(self, directory)
        return {
            "rank": float(self.rank),
            "needed_rank": float(max(one.rank for one in self.factors.values())),
            "relative_error": max(one.error for one in self.factors.values()),
        }


def fit_adapter(base: Path, tensors: Mapping[str, Tensor], max_rank: int = MAX_RANK) -> Adapter:
    """The adapter that makes `tensors` of `base`, as well as `max_rank` allows.

    Raises CheckpointError if peft is not installed, or if something else than a linear map was changed.
    """
    from editing.model.loading import skeleton_of

    if not is_available():
        raise CheckpointError("the form 'adapter' needs the package peft: `pip install 'kbsync[adapter]'`")
    model = skeleton_of(base)
    factors, transposed = {}, False
    for name, update, noise, dtype in _updates(base, tensors):
        module, transposed = _linear(model, name)
        factors[module] = factorised(update.T if transposed else update, noise, max_rank).to(dtype)
    return Adapter(base, model, factors, max_rank, transposed)


def write_adapter(
    base: Path, tensors: Mapping[str, Tensor], directory: Path, *, max_rank: int = MAX_RANK
) -> dict[str, float]:
    """Write the adapter that makes `tensors` of `base`; a `Form`.

    Returns its rank, the numerical rank that ΔW needs, and the relative error of the fit (the largest of all W_out).
    Raises as `fit_adapter` does.
    """
    return fit_adapter(base, tensors, max_rank)(base, tensors, directory)


def read_adapter(directory: Path) -> dict[str, Tensor]:
    """ΔW of each edited parameter by its name in the base, in the shape in which it is stored there, in fp32: what a
    server computes whose products are exact."""
    from safetensors.torch import load_file

    config = json.loads((directory / CONFIG).read_bytes())
    stored = {name: tensor.float() for name, tensor in load_file(directory / FILE).items()}
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


def _updates(base: Path, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor, float, torch.dtype]]:
    """Each changed parameter with its ΔW in fp64, the spectral norm that rounding alone gives it, and the dtype in
    which the base stores it.

    A candidate that changes nothing has one ΔW, of zeros: peft has no empty adapter.
    """
    import torch

    from editing.storage.checkpoints import read_editable

    names = sorted(tensors) or sorted(read_manifest(base).editable)[:1]
    before = read_editable(base, names)
    for name in names:
        after = tensors.get(name, before[name])
        new = after.double()
        # The expected largest singular value of independent errors (Davidson and Szarek, 2001).
        spread = sum(math.sqrt(size) for size in new.shape)
        noise = torch.finfo(after.dtype).eps * float(new.square().mean().sqrt()) * spread
        yield name, new - before[name].to(new.device, torch.float64), noise, before[name].dtype


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


def _write(adapter: Adapter, directory: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    rank, base = adapter.rank, read_manifest(adapter.base).digest
    config = LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        r=rank,
        lora_alpha=rank,
        target_modules=sorted(adapter.factors),
        fan_in_fan_out=adapter.transposed,
        inference_mode=True,
    )
    with warnings.catch_warnings():
        # peft reads attributes that transformers deprecates, and notes that a skeleton has no name.
        warnings.simplefilter("ignore")
        adapted = get_peft_model(adapter.model, config, low_cpu_mem_usage=True)
        adapted.peft_config["default"].base_model_name_or_path = base
        for module, one in adapter.factors.items():
            layer = adapted.get_submodule(f"{_INNER}{module}")
            a = torch.zeros(rank, one.a.shape[1], dtype=one.a.dtype)
            b = torch.zeros(one.b.shape[0], rank, dtype=one.b.dtype)
            a[: one.a.shape[0]], b[:, : one.b.shape[1]] = one.a, one.b
            layer.lora_A["default"].weight = torch.nn.Parameter(a, requires_grad=False)
            layer.lora_B["default"].weight = torch.nn.Parameter(b, requires_grad=False)
        adapted.save_pretrained(directory, save_embedding_layers=False)
    (directory / _CARD).unlink(missing_ok=True)
