"""A second device that pretends: tensors on `pretend:0` have their values in the CPU's memory.

Such a tensor is a wrapper around a CPU tensor.  An operation on it is carried out by the CPU, so it gives the same
bits, but one that mixes the two devices raises what it raises on a GPU.  Only numbers (tensors without dimensions, on
the CPU), indices on the CPU and copies may cross, as in CUDA.  PyTorch lets a backend that is written in Python have
one device, so that a model is spread over two: the CPU and this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from accelerate.hooks import attach_align_device_hook_on_blocks
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

from editing.model.architectures import Parts

KIND = "pretend"
CPU = torch.device("cpu")
aten = torch.ops.aten
CROSSING = {aten.copy_.default, aten._to_copy.default}
"""Operations between devices."""
INDEXING = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
"""Their indices may be on the CPU."""


class Pretended(Tensor):
    """A CPU tensor that is said to be on a pretended device."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor, device: torch.device) -> Pretended:
        made: Pretended = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=device,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"Pretended({self.device}, {self.inner})"

    def tolist(self) -> Any:
        return self.inner.tolist()

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatched(func, args, kwargs or {})


def dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of `func`, on the device of its operands; raises RuntimeError if they are on two."""
    named = kwargs.get("device")
    asked = None if named is None else torch.device(named)
    home = asked if asked is not None else _home(func, args, kwargs)
    if asked is not None and asked.type == KIND:
        kwargs = {**kwargs, "device": CPU}
    if kwargs.get("pin_memory"):
        kwargs = {**kwargs, "pin_memory": False}
    result = func(*tree_map(_inside, args), **tree_map(_inside, kwargs))
    if func._schema.is_mutable and func.__name__.split(".")[0].endswith("_"):
        return args[0]
    if home.type != KIND:
        return result
    return tree_map(lambda one: Pretended(one, home) if isinstance(one, Tensor) else one, result)


def _home(func: Any, args: Any, kwargs: Any) -> torch.device:
    tensors = [one for one in tree_flatten((args, kwargs))[0] if isinstance(one, Tensor)]
    if not tensors:
        return CPU
    if func in CROSSING:
        return tensors[0].device
    if func in INDEXING:
        tensors = [args[0], *(one for one in tensors if one.device != CPU)]
    found = {one.device for one in tensors if one.dim() or one.device != CPU}
    if len(found) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found {sorted(map(str, found))} in {func}"
        )
    return next(iter(found), CPU)


def _inside(value: Any) -> Any:
    return value.inner if isinstance(value, Pretended) else value


class _Mode(TorchDispatchMode):
    """Also catches the creation of tensors and copies to a pretended device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # operations that consist of others arrive whole in inference mode
            parts = func.decompose(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        return dispatched(func, args, kwargs or {})


class _Backend:
    """What torch asks a backend's module for."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        """Nothing is drawn on the device."""

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    @staticmethod
    def is_autocast_enabled() -> bool:
        return False


@cache
def register() -> None:
    """Make torch know the devices, once in a process."""
    _setup_privateuseone_for_python_backend(KIND, _Backend())


@contextmanager
def pretended_devices() -> Iterator[None]:
    """Tensors can be created on, and moved to, pretended devices inside the block."""
    register()
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # `torch.tensor` then makes its tensor on the CPU and moves it
    try:
        with _Mode():
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


def spread(model: Any, parts: Parts, places: Sequence[str], *, embedding: str, head: str) -> Any:
    """`model` with its blocks on `places`, as accelerate spreads it: hooks move what a module is given.

    What comes before the blocks is with the embedding, and what comes after them with the head.  A head that is tied to
    the embedding is where the embedding is.
    """
    path = parts.architecture.blocks
    homes = {f"{path}.{layer}": place for layer, place in enumerate(places)}
    heads = {name for name, module in model.named_modules() if module is parts.head}
    first = embedding
    for name, _ in model.named_modules():
        if name == path:
            first = head
        elif name and not path.startswith(name) and not any(name.startswith(f"{home}.") for home in homes):
            homes.setdefault(name, embedding if name in heads and _tied(model, parts) else first)
    for name, place in homes.items():
        model.get_submodule(name).to(place)
    model.tie_weights()
    attach_align_device_hook_on_blocks(
        model,
        execution_device={name: torch.device(place) for name, place in homes.items()}
        | {"": torch.device(embedding)},
        offload=dict.fromkeys(homes, False),
        skip_keys=model._skip_keys_device_placement,
    )
    return model


def _tied(model: Any, parts: Parts) -> bool:
    return model.get_input_embeddings().weight is parts.head.weight
