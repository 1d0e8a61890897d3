"""Reading and replacing a model's weights: the only module that overwrites parameters.

Parameters are found by following their names through the model's modules, which also works for a module that
`torch.compile` wraps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editing.errors import ModelError


def unwrapped(model: Any) -> Any:
    """The module that `torch.compile(model)` wraps, or `model` itself."""
    return getattr(model, "_orig_mod", model)


def refuse_unwritable(model: Any) -> None:
    """Raise ModelError if an edit could not be written to the model's parameters."""
    if not hasattr(model, "config"):
        raise ModelError(
            f"{type(model).__name__} is not a transformers model: if it wraps one, as DataParallel does, pass "
            "the model inside (`model.module`)"
        )
    away = [name for name, parameter in model.named_parameters() if parameter.is_meta]
    if away:
        raise ModelError(
            f"{len(away)} parameters are on the meta device, such as {away[0]!r}: accelerate keeps them on the CPU or "
            "on disk, where an edit would not reach them. Load the model without offloading, or with fewer of its "
            "layers elsewhere"
        )
    fixed = [name for name, parameter in model.named_parameters() if parameter.is_inference()]
    if fixed and not torch.is_inference_mode_enabled():
        raise ModelError(
            f"{len(fixed)} parameters, such as {fixed[0]!r}, were created under torch.inference_mode() and cannot be "
            "changed outside it: load the model outside"
        )


def parameter_named(model: Any, name: str) -> nn.Parameter:
    """The parameter with this state-dict name; raises ModelError if the model has none."""
    try:
        found: nn.Parameter = model.get_parameter(name)
    except AttributeError as error:
        raise ModelError(
            f"{type(model).__name__} has no parameter {name!r} ({error}): is it the model that was edited?"
        ) from error
    return found


def copies_of(model: Any, names: Collection[str]) -> dict[str, Tensor]:
    """Copies of the current values of the named parameters."""
    return {name: parameter_named(model, name).detach().clone() for name in names}


def growth(before: Tensor, after: Tensor) -> float:
    """‖W + Δ‖ / ‖W‖, in fp64; `after` is W + Δ."""
    return float(after.detach().double().norm() / before.detach().double().norm())


@torch.no_grad()
def write_weights(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite the named parameters of `model`: all of them or, if one does not fit, none.

    Values are cast to each parameter's dtype and device.  Raises ModelError naming the one that is
    missing or has another shape.
    """
    parameters = {name: parameter_named(model, name) for name in tensors}
    for name, tensor in tensors.items():
        if tensor.shape != parameters[name].shape:
            raise ModelError(
                f"{name!r} has shape {tuple(parameters[name].shape)} in the model and {tuple(tensor.shape)} "
                "in the edit: is it the model that was edited?"
            )
    for name, tensor in tensors.items():
        parameters[name].copy_(tensor)


@contextmanager
def restored(model: Any, names: Collection[str]) -> Iterator[None]:
    """Restore the named parameters bit for bit after the block, also after an error."""
    saved = copies_of(model, names)
    try:
        yield
    finally:
        write_weights(model, saved)


@contextmanager
def swapped(model: Any, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """`model` with `tensors` in place of its own inside the block; restored bit for bit afterwards."""
    with restored(model, tensors.keys()):
        write_weights(model, tensors)
        yield
