"""How outcomes become a figure.  Torch-free."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from editing.spec import Measure


def counted(
    name: str, hits: Sequence[bool], live: Sequence[bool] | None = None, *, exhaustive: bool = True
) -> Measure:
    """A proportion; without cases it has n = k = 0 and no value."""
    n = len(hits)
    return Measure(
        name,
        value=sum(hits) / n if n else None,
        n=n,
        k=sum(hits),
        exhaustive=exhaustive,
        live=sum(live) / n if live and n else None,
        live_k=sum(live) if live is not None else None,
    )


def ratio(value: float | None, base: float | None) -> float | None:
    """`value` over `base`, or None if that is not a finite number."""
    return None if value is None or base is None or base == 0 else finite(value / base)


def finite(value: float | None) -> float | None:
    """None for a value that is not finite, since JSON has no NaN; a gate on it fails."""
    return value if value is not None and math.isfinite(value) else None


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None if there are no values."""
    return sum(values) / len(values) if values else None


def quantile(values: Sequence[float], share: float) -> float | None:
    """The quantile of `values` with linear interpolation; None if there are no values."""
    return float(np.quantile(values, share)) if values else None
