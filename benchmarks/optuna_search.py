"""Optuna beside the search of `kbsync calibrate`: the same hyper-parameters, CPU time and test split.

    OMP_NUM_THREADS=1 python -m benchmarks.optuna_search --seconds 120 gpt2=models/gpt2,models/gpt2.jsonl

One search after the other runs with an empty cache: that of a calibration, which changes one hyper-parameter at a
time; Optuna's tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization",
NeurIPS 2011), which draws all that a calibration varies at once and begins with the same point; and points drawn
independently.  All maximise what a calibration maximises, on the search split and, where a point does not look worse
there than the best, on the check split too.  --seconds is CPU time of one thread, with the statistics of each set of
layers.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

import optuna
import torch

from benchmarks.calibrate_models import Named, laboratory, model_options, row, settings_of, write
from benchmarks.calibrate_tables import COLUMNS
from benchmarks.hand_search import windows
from editing.calibration.alternatives import changed
from editing.calibration.calibrate import CalibrationPlan, asked, explicit
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import SearchPoint, rank
from editing.calibration.laboratory import Laboratory
from editing.calibration.search import GAIN, SettingsSearch
from editing.errors import EditingError
from editing.model.architectures import Parts, described, locate_parts
from kbsync.home import Home

LAMBDA = (1 / 16, 16.0)
"""Multiples of the λ that leverage gives for the layers with which a search begins."""
SAMPLERS = ("TPE", "random")


@dataclass
class Drawn:
    """A search whose points a sampler of Optuna draws."""

    laboratory: Laboratory
    splits: Mapping[str, Split]
    floors: Mapping[str, float]
    start: SearchPoint
    """With λ as a number."""
    layers: Sequence[tuple[int, ...]]
    best: float = float("-inf")
    """The highest rank on the search split."""
    points: dict[int, SearchPoint] = field(default_factory=dict)

    def run(self, sampler: optuna.samplers.BaseSampler, ends: float) -> tuple[SearchPoint, float, int]:
        """(best point, its value, number of trials); the last trial begins before `ends` of the process's CPU time."""
        study = optuna.create_study(direction="maximize", sampler=sampler)
        study.enqueue_trial(_as_parameters(self.start))
        while time.process_time() < ends:
            study.optimize(self._value, n_trials=1, catch=(EditingError,))
        return self.points[study.best_trial.number], study.best_value, len(study.trials)

    def _value(self, trial: optuna.Trial) -> float:
        point = self.points[trial.number] = self._suggested(trial)
        search, check = self.splits["search"], self.splits["check"]
        value = rank(self.laboratory.judged(point, search.edits, search.untouched), self.floors)
        if value <= self.best - GAIN:
            return value
        self.best = max(self.best, value)
        checked = rank(self.laboratory.judged(point, check.edits, check.untouched), self.floors)
        weight = len(check.edits) / (len(search.edits) + len(check.edits))
        return (1 - weight) * value + weight * checked

    def _suggested(self, trial: optuna.Trial) -> SearchPoint:
        """The ranges of `editing.calibration.alternatives`."""
        settings = self.start.settings
        factor = trial.suggest_float("lam", *LAMBDA, log=True)
        moved = changed(
            self.start,
            layers=self.layers[trial.suggest_int("layers", 0, len(self.layers) - 1)],
            lam=float(f"{float(settings.lam) * factor:.3g}"),
            clamp=settings.clamp * trial.suggest_float("clamp", 0.5, 4.0, log=True),
            weight_decay=trial.suggest_categorical("weight_decay", (0.0, 0.5)),
            kl=settings.kl * trial.suggest_float("kl", 1 / 8, 32.0, log=True),
            keep=trial.suggest_categorical("keep", (0.0, 0.2, 1.0)),
            ridge=trial.suggest_categorical("ridge", (0.0, 0.01, 0.1)),
        )
        return replace(moved, variants=trial.suggest_categorical("variants", (0, 1)))


def _as_parameters(start: SearchPoint) -> dict[str, Any]:
    settings = start.settings
    same = {name: getattr(settings, name) for name in ("weight_decay", "keep", "ridge")}
    return {"layers": 0, "lam": 1.0, "clamp": 1.0, "kl": 1.0, "variants": start.variants, **same}


def calibrated(
    where: Laboratory, splits: Mapping[str, Split], plan: CalibrationPlan, parts: Parts, ends: float
) -> tuple[SearchPoint, float, int]:
    """What the search of a calibration finds: (point, value, number of trials)."""
    search = SettingsSearch(
        where,
        splits["search"],
        splits["check"],
        plan.floors,
        parts=parts,
        talks=False,
        ends=lambda: ends,
        clock=time.process_time,
    )
    found = search.run(explicit(plan))
    return found.fixed, found.value, len(search.trials)


def searched(named: Named, name: str, seconds: float, typed: Any) -> dict[str, Any]:
    """One search with a cache of its own, and its row on the test split."""
    with TemporaryDirectory() as home:
        plan = named.plan(Home(Path(home)), typed.device, seconds, MappingProxyType(typed.start))
        plan = replace(plan, seed=typed.seed)
        where = replace(laboratory(plan), clock=time.process_time)
        splits, start = asked(plan)[1], explicit(plan)
        parts = locate_parts(plan.base.model, described(start.settings))
        where.prepare(start)
        search, test = splits["search"], splits["test"]
        began = time.process_time()
        ends = began + seconds
        if name == "calibration":
            point, value, trials = calibrated(where, splits, plan, parts, ends)
        else:
            derived = where.judged(start, search.edits, search.untouched)
            drawn = Drawn(
                where,
                splits,
                plan.floors,
                changed(start, lam=derived.lam),
                windows(start.settings.layers, parts),
            )
            point, value, trials = drawn.run(_sampler(name, typed.seed), ends)
        took = time.process_time() - began
        judged = where.judged(point, test.edits, test.untouched)
        return row(judged) | {
            "value": value,
            "test_value": rank(judged, plan.floors),
            "trials": trials,
            "seconds": took,
            "settings": settings_of(point),
        }


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "TPE":
        return optuna.samplers.TPESampler(seed=seed, multivariate=True)
    return optuna.samplers.RandomSampler(seed=seed)


def table(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The rows in Markdown."""
    head = ("model", "search", "trials", "CPU s", "value, search and check", "value, test", *COLUMNS)
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for model, rows in results.items():
        for name, found in rows.items():
            cells = [f"{found[column]:.2f}" if column in found else "" for column in COLUMNS]
            values = f"{found['value']:.2f} | {found['test_value']:.2f}"
            lines.append(
                f"| {model} | {name} | {found['trials']} | {found['seconds']:.0f} | {values} | {' | '.join(cells)} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run all searches on each model that is named; models that are there already stay in the results."""
    parser = model_options(__doc__, None, "+")
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU time of each search")
    parser.add_argument("--seed", type=int, default=0, help="of the splits and of the samplers")
    typed = parser.parse_args(arguments)
    torch.set_num_threads(typed.threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    file = typed.out / "optuna-search.json"
    results = json.loads(file.read_text("utf-8"))["models"] if file.exists() else {}
    for named in typed.models:
        results[named.name] = {}
        for name in ("calibration", *SAMPLERS):
            results[named.name][name] = searched(named, name, typed.seconds, typed)
            print(f"{time.strftime('%H:%M:%S')} {named.name}: {name}", file=sys.stderr, flush=True)
    write(file, {"seed": typed.seed, "models": results}, typed.device)
    (typed.out / "optuna-search.md").write_text(table(results), encoding="utf-8")
    print(table(results))


if __name__ == "__main__":
    main()
