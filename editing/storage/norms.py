"""Frobenius norms of the matrices that two checkpoints of one base edited: where they differ, and by how much."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editing.errors import CheckpointError, DamagedCheckpoint
from editing.storage.base_import import EDITABLE
from editing.storage.manifest import read_manifest

_LAYER = re.compile(r"\.(\d+)\.")
_PIECE = 1 << 23
"""Weights of one matrix that are in memory at a time."""


@dataclass(frozen=True, slots=True)
class MatrixNorms:
    """One edited matrix in the base and in two checkpoints: ‖W₀‖, ‖W₁‖, ‖W₂‖ and ‖W₂ − W₁‖, summed in fp64."""

    name: str
    """The parameter's name in the model."""
    layer: int | None
    """The number of its block; None if its name has none."""
    base: float
    before: float
    after: float
    difference: float


def compare_norms(base: Path, before: Path, after: Path) -> tuple[MatrixNorms, ...]:
    """The matrices in which `before` or `after` differ from `base`, by layer; pieces of one are read at a time.

    Raises CheckpointError if one of them was built from another base, DamagedCheckpoint if one cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    manifest = read_manifest(base)
    for directory in (before, after):
        if read_manifest(directory).base != manifest.digest:
            raise CheckpointError(f"{directory} was not built from the base {manifest.digest[:12]}…")
    found = []
    try:
        with ExitStack() as stack:
            files = [
                stack.enter_context(safe_open(directory / EDITABLE, framework="pt"))
                for directory in (base, before, after)
            ]
            for name, stored in manifest.editable.items():
                norms = _norms([file.get_slice(stored) for file in files])
                if norms is not None:
                    layer = _LAYER.search(name)
                    found.append(MatrixNorms(name, int(layer[1]) if layer else None, *norms))
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"the weights of {before} or {after} cannot be read: {error}") from error
    return tuple(sorted(found, key=lambda one: (-1 if one.layer is None else one.layer, one.name)))


def _norms(slices: list[Any]) -> tuple[float, float, float, float] | None:
    """(‖W₀‖, ‖W₁‖, ‖W₂‖, ‖W₂ − W₁‖), or None if the three are equal."""
    sums, edited = [0.0] * 4, False
    for w0, w1, w2 in _pieces(slices):
        edited = edited or bool((w1 != w0).any() or (w2 != w0).any())
        for number, piece in enumerate((w0, w1, w2, w2 - w1)):
            sums[number] += float(piece.square().sum())
    zero, one, two, difference = (math.sqrt(total) for total in sums)
    return (zero, one, two, difference) if edited else None


def _pieces(slices: list[Any]) -> Iterator[list[Any]]:
    """The same rows of each matrix, as fp64."""
    rows, *rest = slices[0].get_shape()
    step = max(1, _PIECE // max(1, math.prod(rest)))
    for start in range(0, rows, step):
        yield [one[start : start + step].double() for one in slices]
