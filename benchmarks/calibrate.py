"""Settings for models that they were not written for: old defaults, leverage only, calibrated; judged on a test split.

    OMP_NUM_THREADS=1 nice python -m benchmarks.calibrate --budget 20 --out benchmarks/results \
        bundled=kbsync/demo/model pretrained=$(make -s pretrained)

Each model is NAME=DIRECTORY[,FACTS]; without a facts file, the bundled model is asked about its own world and any other
about common knowledge.  `benchmarks/four_models.py` trains three others, and `benchmarks/hand_search.py` adds the best
settings of a grid.  Each model's figures are a file of their own in --out, so that several may run at once; without a
model, the tables and the plot of all that are there are written.  Resumes: trials and δs are kept in --home.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.calibrate_models import Named, laboratory, model_options, row, settings_of, shown, write
from benchmarks.calibrate_tables import parts, publish, table
from editing.calibration.calibrate import Calibration, CalibrationPlan, calibrate
from editing.calibration.judgement import SearchPoint
from editing.calibration.search import Seconds
from editing.errors import EditingError
from editing.settings import EditSettings
from kbsync.home import Home
from kbsync.settings.base_model import edit_settings_of

OLD_LAMBDA = 15_000.0
"""λ of GPT-J, which was the default for every model."""


def compared(model: Path, start: Mapping[str, Any]) -> dict[str, SearchPoint]:
    """What is compared with the calibrated settings; `start`: settings that are not kbsync's defaults."""
    found = {
        "old defaults": SearchPoint(EditSettings(**{**start, "lam": OLD_LAMBDA})),
        "leverage only": SearchPoint(EditSettings(**start)),
    }
    own = edit_settings_of(model)
    return found | ({"kbsync-edit.json": SearchPoint(own, variants=1)} if own != EditSettings() else {})


def measured(named: Named, plan: CalibrationPlan, clock: Seconds, typed: Namespace) -> None:
    """One model: what was calibrated, its capacity curve and its rows, written after each."""
    device, file = typed.device, typed.out / f"calibrate-{named.name}.json"
    found = calibrate(plan, progress=shown, clock=clock)
    content = {"start": typed.start, "rows": {"calibrated": row(found.after)}, **_described(found)}
    write(file, content, device)
    where, test = laboratory(plan), found.splits["test"]
    where.prepare(found.start)
    for name, candidate in compared(named.model, typed.start).items():
        began = time.monotonic()
        try:
            judged = where.judged(candidate, test.edits, test.untouched)
        except EditingError as error:
            print(f"{named.name}, {name}: {error}")
            continue
        content["rows"][name] = row(judged) | {"seconds": time.monotonic() - began}
        write(file, content, device)


def _described(found: Calibration) -> dict[str, Any]:
    return {
        "settings": settings_of(found.chosen),
        "refused": settings_of(found.refused) if found.refused is not None else None,
        "edits": {name: len(split.edits) for name, split in found.splits.items()},
        "known": len(found.known.known),
        "given": found.known.given,
        "trials": [
            {
                "stage": trial.stage,
                "changed": trial.changed,
                "rank": trial.rank,
                "checked": trial.checked,
                "S": trial.judgement.s if trial.judgement is not None else None,
                "seconds": trial.seconds,
            }
            for trial in found.trials
        ],
        "finalists": [
            {
                "settings": settings_of(one.trial.fixed),
                "facts": one.facts,
                "S": one.s,
                "behind": one.behind,
                "error": one.error,
            }
            for one in found.finalists
        ],
        "capacity": [{"n": point.n, **point.judged.measures()} for point in found.points],
        "capacity_facts": asdict(found.capacity),
        "left_out": [asdict(one) for one in found.left_out],
        "seconds": found.seconds,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all models that are named, or write tables and plot."""
    parser = model_options(__doc__, "calibrate-home", "*")
    parser.add_argument("--budget", type=float, default=20.0, help="minutes of a calibration")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="the budget is CPU time of this process: what one thread takes on a machine without other work",
    )
    typed = parser.parse_args(arguments)
    if typed.cpu_time and typed.threads != 1:
        parser.error("--cpu-time counts the time of one thread: it needs --threads 1")
    torch.set_num_threads(typed.threads)
    for named in typed.models:
        plan = named.plan(Home(typed.home.resolve()), typed.device, typed.budget, typed.start)
        clock = time.process_time if typed.cpu_time else time.monotonic
        measured(named, plan, clock, typed)
    print(publish(typed.out) if not typed.models else table(parts(typed.out)))


if __name__ == "__main__":
    main()
