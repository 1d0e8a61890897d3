"""The columns of K and R of a layer, in the three ways in which solves use them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from editing.errors import NumericalError
from editing.memit.gram import add_gram, complete
from editing.memit.groups import Group
from editing.model.architectures import Parts
from editing.model.devices import device_of
from editing.progress import Progress, silent

Add = Callable[[Tensor, Tensor], None]
"""Takes some columns: (Kᵀ [n, d_k], Rᵀ [n, d])."""


class UnusableKeys(NumericalError):
    """Keys or residuals of some groups are not finite, which would make the whole update not finite."""

    def __init__(self, groups: Sequence[Group], layer: int) -> None:
        super().__init__(
            f"the keys of {[request.id for group in groups for request in group.requests]} at layer {layer} are "
            "not finite: load the model in fp32"
        )
        self.groups = tuple(groups)


class ColumnSource(ABC):
    """Keys and residuals of one view.  Every method raises UnusableKeys if some are not finite."""

    parts: Parts
    count: int
    """Number of columns."""

    @abstractmethod
    def each(self, add: Add, layer: int, share: float, *, first: bool, progress: Progress = silent) -> None:
        """Call `add` with all columns of `layer` with the current weights, some at a time, always in the same order.

        `share`: of the remaining residual, which the layer takes; `first`: whether it is the first of R.
        """

    def sums(
        self, layer: int, share: float, *, first: bool, progress: Progress = silent
    ) -> tuple[Tensor, Tensor]:
        """(K Kᵀ [d_k, d_k], K Rᵀ [d_k, d]) of `layer` with the current weights, in fp64."""
        width = self.parts.key_width(layer)
        device = device_of(self.parts.blocks[layer])
        normal = torch.zeros(width, width, dtype=torch.float64, device=device)
        cross = torch.zeros(width, self.parts.width, dtype=torch.float64, device=device)

        def add(keys: Tensor, residuals: Tensor) -> None:
            add_gram(normal, keys)
            cross.add_(keys.T @ residuals)

        self.each(add, layer, share, first=first, progress=progress)
        return complete(normal), cross

    def stacked(
        self, layer: int, share: float, *, first: bool, progress: Progress = silent
    ) -> tuple[Tensor, Tensor]:
        """(Kᵀ [n, d_k], Rᵀ [n, d]) of `layer` with the current weights, in fp64."""
        keys: list[Tensor] = []
        residuals: list[Tensor] = []

        def add(some: Tensor, theirs: Tensor) -> None:
            keys.append(some.double())
            residuals.append(theirs.double())

        self.each(add, layer, share, first=first, progress=progress)
        return torch.cat(keys), torch.cat(residuals)

    def in_file(
        self, layer: int, share: float, path: Path, *, first: bool, progress: Progress = silent
    ) -> tuple[Tensor, Tensor]:
        """(Kᵀ [n, d_k] in the file `path`, K Rᵀ [d_k, d]) in fp64, on the CPU."""
        width = self.parts.key_width(layer)
        stored = torch.from_file(str(path), shared=True, size=self.count * width, dtype=torch.float64)
        stored = stored.view(self.count, width)
        cross = torch.zeros(width, self.parts.width, dtype=torch.float64)
        row = 0

        def add(keys: Tensor, residuals: Tensor) -> None:
            nonlocal row
            ready = keys.cpu().double()
            stored[row : row + len(ready)] = ready
            cross.addmm_(ready.T, residuals.cpu().double())
            row += len(ready)

        self.each(add, layer, share, first=first, progress=progress)
        return stored, cross
