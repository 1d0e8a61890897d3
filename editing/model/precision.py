"""Running a model as if its parameters were stored in another dtype, without a second copy of them.

Every operation sees parameters that are cast when it begins, so that activations have that dtype too, and rounding
happens where it does in a model converted with `model.to(dtype)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map


class ComputedIn(TorchFunctionMode):
    """Inside the block, parameters behave as if they had this floating-point dtype; for inference."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunction():
            args, kwargs = tree_map(self._cast, tuple(args)), tree_map(self._cast, dict(kwargs or {}))
        return func(*args, **kwargs)

    def _cast(self, value: Any) -> Any:
        if isinstance(value, nn.Parameter) and value.is_floating_point() and value.dtype != self.dtype:
            return value.detach().to(self.dtype)
        return value
