"""Builds of one tiny model whose specs lie on disk, for several processes to work on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from editing.spec import BuildSpec, FactSpec
from editing.storage.checkpoints import import_base, read_changed
from tests.support.rounds import SETTINGS as TINY
from tests.support.tiny_models import SENTENCES, gpt2, save

SETTINGS = replace(TINY, ridge=0.01)
"""With a ridge: the few sentences leave directions of key space empty, in which only rounding would decide."""
FACTS = tuple(
    FactSpec(f"fact-{number}", template, f"Land {number}", "Paris" if number % 2 else "Rome")
    for number, template in enumerate(["The capital of {} is", "{} is near", "People of {} love"] * 4)
)


class SharedBuild:
    """A spec under `root`, for each name with a cache and an output of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(0)
        self.digest, self.base = import_base(save(gpt2(), root / "source"), root / "base")
        (root / "corpus.txt").write_text("\n\n".join(SENTENCES * 10), encoding="utf-8")

    def spec(self, name: str, facts: tuple[FactSpec, ...] = FACTS, **changes: Any) -> Path:
        """The path of the spec."""
        directory = self.root / name
        directory.mkdir(exist_ok=True)
        spec = BuildSpec(
            run=name,
            base=str(self.base),
            base_digest=self.digest,
            out=str(directory / "checkpoint"),
            cache=str(directory / "cache"),
            corpus=(str(self.root / "corpus.txt"),),
            heldout=None,
            facts=facts,
            settings=SETTINGS,
            generate=0,
            threads=1,
        )
        path = directory / "spec.json"
        replace(spec, **changes).write(path)
        return path

    def changed(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of the finished checkpoint that differ from the base's."""
        return read_changed(self.base, self.root / name / "checkpoint")

    def deltas(self, name: str) -> dict[str, int]:
        """Content key → when its δ was written, in nanoseconds."""
        directory = self.root / name / "cache" / "deltas"
        return {file.stem: file.stat().st_mtime_ns for file in directory.glob("*.safetensors")}


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """Equal within what another division into batches changes."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=2e-4, atol=2e-5)
