"""Cholesky factors that do not fit in memory: in a file, one panel of columns after the other.

A left-looking factorisation (Golub and Van Loan, *Matrix Computations*, 4.2.8 and 4.2.9) computes the columns of L in
panels.  Panel j begins as its part of the matrix; every finished panel k < j is read once, and its contribution
L[j:, k] L[j, k]ᵀ subtracted; the diagonal block is then factorised, and the rest divided by it.  At any time two panels
are in memory, [d_k, b] each, and the file is read about d_k / (2 b) times.  Triangular solves read it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

HELD = 3
"""Panels of the widest shape that are in memory at a time: the one in work, one that is read, and a product."""
NARROWEST = 64
"""Smallest width of a panel; with less memory, it is exceeded."""

Columns = Callable[[int, int], Tensor]
"""(first, end) → [size − first, end − first]: columns of the lower triangle, from the diagonal down, in fp64."""


def panel_width(size: int, budget: float) -> int:
    """Columns of a panel [size, width] in fp64 of which `HELD` fit into `budget` bytes."""
    return max(min(NARROWEST, size), min(size, int(budget / (HELD * 8 * size))))


@dataclass(frozen=True)
class PanelFactor:
    """A lower Cholesky factor [size, size] in fp64, in a file."""

    path: Path
    size: int
    width: int
    """Columns of a panel; the last one may have fewer."""

    def spans(self) -> Iterator[tuple[int, int]]:
        """(first, end) of each panel."""
        for first in range(0, self.size, self.width):
            yield first, min(first + self.width, self.size)

    def panel(self, first: int, below: int | None = None) -> Tensor:
        """[size − below, columns]: the panel that begins with column `first`, from row `below` (its diagonal) down."""
        below = first if below is None else below
        columns = min(first + self.width, self.size) - first
        # Panels are stored one after the other by row, each from its diagonal down.
        before = sum((self.size - start) * (end - start) for start, end in self.spans() if start < first)
        whole = torch.from_file(
            str(self.path), shared=True, size=before + (self.size - first) * columns, dtype=torch.float64
        )
        mapped = whole[before:].view(self.size - first, columns)
        return mapped[below - first :]

    def forward(self, right: Tensor) -> None:
        """Overwrite `right` [size, n] with L⁻¹ right."""
        for first, end in self.spans():
            panel = self.panel(first)
            solved = torch.linalg.solve_triangular(panel[: end - first], right[first:end], upper=False)
            right[first:end] = solved
            right[end:].addmm_(panel[end - first :], solved, alpha=-1)

    def backward(self, right: Tensor) -> None:
        """Overwrite `right` [size, n] with L⁻ᵀ right."""
        for first, end in reversed([*self.spans()]):
            panel = self.panel(first)
            right[first:end].addmm_(panel[end - first :].T, right[end:], alpha=-1)
            right[first:end] = torch.linalg.solve_triangular(
                panel[: end - first].T, right[first:end], upper=True
            )


def factorise_panels(columns: Columns, size: int, path: Path, width: int) -> PanelFactor | None:
    """The factor of the matrix given by `columns`, written to `path`; None if it is not positive definite."""
    factor = PanelFactor(path, size, width)
    entries = sum((size - first) * (end - first) for first, end in factor.spans())
    with path.open("wb") as file:
        file.truncate(8 * entries)
    for first, end in factor.spans():
        panel = columns(first, end)
        for start, stop in factor.spans():
            if start >= first:
                break
            done = factor.panel(start, first)
            panel.addmm_(done, done[: end - first, : stop - start].T, alpha=-1)
        diagonal, failed = torch.linalg.cholesky_ex(panel[: end - first])
        if int(failed):
            return None
        stored = factor.panel(first)
        stored[: end - first] = diagonal
        # X Lᵀ = panel, from the right.
        stored[end - first :] = torch.linalg.solve_triangular(
            diagonal.T, panel[end - first :], upper=True, left=False
        )
    return factor
