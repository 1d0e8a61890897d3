"""What the testbed's plots have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def axes_of(path: Path, *, width: float) -> Iterator[Any]:
    """Axes to draw on, `width` by 4 inches; written to `path` as SVG with a grid and a legend."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(width, 4))
    yield axes
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path)
