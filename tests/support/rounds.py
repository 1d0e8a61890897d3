"""The rounds of one worker, in this process, on a tiny random model."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from editing.settings import EditSettings
from editing.spec import BuildReport, BuildSpec, FactSpec
from editing.storage.checkpoints import import_base
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support.tiny_models import SENTENCES, gpt2, save

SETTINGS = EditSettings(
    layers=(0, 1), steps=6, lr=0.2, clamp=4.0, lam=1.0, prefixes=1, prefix_tokens=3, statistics_samples=20
)


class Rounds:
    """Runs specs and gives their reports."""

    def __init__(self, root: Path) -> None:
        self.root = root
        torch.manual_seed(0)
        self.digest, self.base = import_base(save(gpt2(), root / "source"), root / "base")
        (root / "corpus.txt").write_text("\n\n".join(SENTENCES * 10), encoding="utf-8")
        self.workshop = Workshop(Channel(StringIO()))
        self.count = 0

    def run(self, *facts: FactSpec, **changes: Any) -> BuildReport:
        self.count += 1
        directory = self.root / "runs" / str(self.count)
        directory.mkdir(parents=True)
        spec = BuildSpec(
            run=str(self.count),
            base=str(self.base),
            base_digest=self.digest,
            out=str(self.root / "checkpoints" / str(self.count)),
            cache=str(self.root / "cache"),
            corpus=(str(self.root / "corpus.txt"),),
            heldout=None,
            facts=facts,
            settings=SETTINGS,
            generate=4,
            threads=1,
        )
        replace(spec, **changes).write(directory / "spec.json")
        return BuildReport.read(self.workshop.round(directory / "spec.json"))
