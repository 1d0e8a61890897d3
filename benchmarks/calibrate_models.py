"""The models of `benchmarks/calibrate.py` and `benchmarks/hand_search.py`: what each is asked, and its three splits."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from editing.calibration.calibrate import CalibrationPlan
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.statements import WordedTriple, common_knowledge, from_records
from editing.datasets import read_records
from editing.settings import EditSettings
from editing.storage.loaded import load_base
from kbsync.console import plain
from kbsync.demo.setting import MODEL
from kbsync.demo.world import load
from kbsync.gates import DEFAULT_GATES
from kbsync.home import Home
from kbsync.settings.base_model import import_base
from kbsync.settings.sections import EditOverrides
from kbsync.standalone.calibrating import floors_of
from kbsync.standalone.calibration_report import intervals

START = SearchPoint(replace(EditSettings(), optimiser="lbfgs", steps=18))
"""Where a search begins: kbsync's defaults with the cheaper optimiser."""
SHOWN = ("search", "finalists", "test", "capacity")
"""Phases whose progress is printed."""


@dataclass(frozen=True, slots=True)
class Named:
    """One argument NAME=DIRECTORY[,FACTS]."""

    name: str
    model: Path
    facts: Path | None

    @staticmethod
    def parse(argument: str) -> Named:
        name, _, place = argument.partition("=")
        model, _, facts = place.partition(",")
        return Named(name, Path(model), Path(facts) if facts else None)

    def statements(self) -> tuple[WordedTriple, ...]:
        """What the model is asked: a facts file, the demo's world for the bundled model, else common knowledge."""
        if self.facts is not None:
            return from_records(read_records(self.facts))
        if self.model.resolve() != MODEL.resolve():
            return common_knowledge()
        world = load()
        return tuple(
            WordedTriple(
                world.label(fact.subject),
                fact.relation,
                world.label(fact.object),
                tuple(world.wordings[fact.relation].templates),
            )
            for fact in world.facts_2021
        )

    def plan(
        self, home: Home, device: str | None, budget: float, start: Mapping[str, Any] = MappingProxyType({})
    ) -> CalibrationPlan:
        """The model, imported into `home` and loaded; `budget` is in minutes, `start` instead of defaults."""
        base = load_base(import_base(self.model, home.prepare(), EditOverrides()).directory, device=device)
        return CalibrationPlan(
            base=base,
            statements=self.statements(),
            start=replace(START, settings=replace(START.settings, **start)),
            floors=floors_of(DEFAULT_GATES),
            cache=home.cache,
            budget=budget * 60,
        )


def laboratory(plan: CalibrationPlan) -> Laboratory:
    """Where settings are tried."""
    return Laboratory(plan.base, plan.cache, (), None, shown)


def row(judged: Judgement) -> dict[str, Any]:
    """A row of the table."""
    return {**judged.measures(), "lam": judged.lam, "seconds": judged.seconds, "intervals": intervals(judged)}


def settings_of(candidate: SearchPoint) -> dict[str, Any]:
    """All settings of a candidate."""
    return {**asdict(candidate.settings), "variants": candidate.variants}


def write(file: Path, content: dict[str, Any], device: str | None) -> None:
    """Write a part of the results, with the machine that it was measured on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device and device.startswith("cuda") else "cpu",
    }
    file.write_text(json.dumps({"machine": machine, **plain(content)}, indent=1) + "\n", encoding="utf-8")


def shown(phase: str, done: int, total: int) -> None:
    """Print how far a search is."""
    if phase in SHOWN:
        print(f"{time.strftime('%H:%M:%S')} {phase} {done} of {total}", file=sys.stderr, flush=True)


def model_options(description: str | None, home: str | None, models: str) -> argparse.ArgumentParser:
    """The options that these benchmarks share; `models`: how many are named, as argparse writes it.

    `home`: where trials and δs are kept by default; None if nothing is.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs=models, type=Named.parse, metavar="NAME=DIRECTORY[,FACTS]")
    if home is not None:
        parser.add_argument("--home", type=Path, default=Path(home))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--device", default=None, help="cpu or cuda (default: a GPU if there is one)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--start", type=json.loads, default={}, help="JSON of settings to begin with instead of the defaults"
    )
    return parser
