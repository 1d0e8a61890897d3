"""Optimised residuals δ, one file per key group, under a key that covers everything they depend on.

A δ is expensive to optimise and is an input of every later build, so it is stored as soon as it is
optimised: an interrupted build resumes with the δs that were finished.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from editing.memit import tensor_cache
from editing.mirror import mirror


@dataclass(frozen=True)
class Delta:
    """δ of one key group, and how its optimisation ended."""

    value: Tensor
    """[d], in fp32 (fp64 for an fp64 model)."""
    norm: float
    """‖h‖ at the target layer, which the clamp is relative to."""
    loss: float
    """The last loss evaluated; if the steps ran out, that of the δ before the last update."""
    updates: int


def values_of(deltas: Mapping[str, Delta]) -> dict[str, Tensor]:
    """Content key → δ itself."""
    return {key: delta.value for key, delta in deltas.items()}


class DeltaStore:
    """A directory of δs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, key: str) -> Path:
        return self.directory / f"{key}.safetensors"

    def present(self, keys: Iterable[str]) -> Collection[str]:
        """Those of `keys` that have a stored δ."""
        return {path.stem for path in mirror().present([self.path(key) for key in keys])}

    def get_all(self, keys: Collection[str]) -> dict[str, Delta]:
        """Key → stored δ, of those of `keys` that have one which is not damaged."""
        mirror().fetch([self.path(key) for key in keys])
        found = {key: self.get(key) for key in keys if self.path(key).exists()}
        return {key: delta for key, delta in found.items() if delta is not None}

    def get(self, key: str) -> Delta | None:
        """The stored δ; None if there is none, or if it is damaged."""
        found = tensor_cache.load(self.path(key))
        if found is None:
            return None
        tensors, metadata = found
        return Delta(
            tensors["delta"], float(metadata["norm"]), float(metadata["loss"]), int(metadata["updates"])
        )

    def put(self, key: str, delta: Delta) -> None:
        metadata = {"norm": repr(delta.norm), "loss": repr(delta.loss), "updates": str(delta.updates)}
        tensor_cache.store(self.path(key), {"delta": delta.value}, metadata)
