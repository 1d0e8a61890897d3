"""Settings for models that they were not written for: old defaults, leverage only, calibrated; judged on a test split.

    OMP_NUM_THREADS=1 nice python -m benchmarks.calibrate --budget 20 --out benchmarks/results \
        bundled=kbsync/demo/model pretrained=$(make -s pretrained)

Each model is NAME=DIRECTORY[,FACTS]; without a facts file, the bundled model is asked about its own world and any other
about common knowledge.  Resumes: trials and δs are kept in --home.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from editing.calibration.calibrate import Calibration, CalibrationPlan, calibrate
from editing.calibration.counterfactuals import Split
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.laboratory import Laboratory
from editing.calibration.statements import WordedTriple, common_knowledge, from_records
from editing.datasets import read_records
from editing.settings import EditSettings
from editing.storage.loaded import LoadedBase, load_base
from kbsync.console import plain
from kbsync.demo.setting import MODEL
from kbsync.demo.world import load
from kbsync.gates import DEFAULT_GATES
from kbsync.home import Home
from kbsync.settings.base_model import edit_settings_of, import_base
from kbsync.settings.sections import EditOverrides
from kbsync.standalone.calibrating import floors_of
from kbsync.standalone.calibration_report import intervals

OLD_LAMBDA = 15_000.0
"""λ of GPT-J, which was the default for every model."""
COLUMNS = (
    "S",
    "efficacy",
    "paraphrase",
    "neighbourhood",
    "same_subject",
    "known_retention",
    "perplexity_ratio",
)


def statements_of(model: Path, facts: Path | None) -> tuple[WordedTriple, ...]:
    """What the model is asked."""
    if facts is not None:
        return from_records(read_records(facts))
    if model.resolve() != MODEL.resolve():
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


def settings_of(model: Path) -> dict[str, SearchPoint]:
    """What is compared with the calibrated settings."""
    found = {
        "old defaults": SearchPoint(EditSettings(lam=OLD_LAMBDA)),
        "leverage only": SearchPoint(EditSettings()),
    }
    by_hand = edit_settings_of(model)
    return found | ({"by hand": SearchPoint(by_hand, variants=1)} if by_hand != EditSettings() else {})


def measured(model: Path, facts: Path | None, home: Home, budget: float) -> dict[str, Any]:
    """One model: its rows, its capacity curve, and what was calibrated."""
    base = load_base(import_base(model, home.prepare(), EditOverrides()).directory)
    plan = CalibrationPlan(
        base=base,
        statements=statements_of(model, facts),
        start=SearchPoint(replace(EditSettings(), optimiser="lbfgs", steps=18)),
        floors=floors_of(DEFAULT_GATES),
        cache=home.cache,
        budget=budget * 60,
    )
    found = calibrate(plan, progress=_progress)
    test = found.splits["test"]
    rows = {name: _judged(base, home, one, test) for name, one in settings_of(model).items()}
    rows["calibrated"] = found.after
    return {"rows": {name: _row(one) for name, one in rows.items()}, **_described(found)}


def _judged(base: LoadedBase, home: Home, candidate: SearchPoint, test: Split) -> Judgement:
    return Laboratory(base, home.cache, (), None, _progress).judged(candidate, test.edits, test.untouched)


def _row(judged: Judgement) -> dict[str, Any]:
    return {**judged.measures(), "lam": judged.lam, "intervals": intervals(judged)}


def _described(found: Calibration) -> dict[str, Any]:
    return {
        "settings": asdict(found.chosen),
        "edits": {name: len(split.edits) for name, split in found.splits.items()},
        "known": len(found.known.known),
        "given": found.known.given,
        "trials": [(trial.stage, trial.changed, trial.rank, trial.seconds) for trial in found.trials],
        "capacity": [{"n": point.n, **point.judged.measures()} for point in found.points],
        "capacity_facts": asdict(found.capacity),
        "left_out": [asdict(one) for one in found.left_out],
        "seconds": found.seconds,
    }


def _progress(phase: str, done: int, total: int) -> None:
    if phase in ("search", "check", "test", "capacity"):
        print(f"{time.strftime('%H:%M:%S')} {phase} {done} of {total}", file=sys.stderr, flush=True)


def table(results: dict[str, Any]) -> str:
    """The rows of all models as Markdown."""
    lines = [f"| model | settings | λ | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 3) + "|"]
    for model, result in results.items():
        for name, row in result["rows"].items():
            cells = [f"{row[column]:.2f}" if column in row else "" for column in COLUMNS]
            lines.append(f"| {model} | {name} | {row['lam']:,.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(results: dict[str, Any], file: Path) -> None:
    """S, strict efficacy and the subject's other relations of each model, by settings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        1, len(results), figsize=(5 * len(results), 3.6), layout="constrained", squeeze=False
    )
    for axis, (model, result) in zip(axes[0], results.items(), strict=True):
        for number, (name, row) in enumerate(result["rows"].items()):
            values = [row.get(column, 0.0) for column in COLUMNS[:5]]
            axis.bar([index + 0.2 * number for index in range(5)], values, width=0.2, label=name)
        axis.set_xticks([index + 0.3 for index in range(5)], COLUMNS[:5], rotation=25, ha="right")
        axis.set_title(model)
        axis.set_ylim(0, 1.05)
        axis.legend(fontsize=7)
    figure.savefig(file)
    pyplot.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all models that are named, and write table, figures and plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", metavar="NAME=DIRECTORY[,FACTS]")
    parser.add_argument("--budget", type=float, default=20.0, help="minutes of a calibration")
    parser.add_argument("--home", type=Path, default=Path("calibrate-home"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    typed = parser.parse_args(arguments)
    file = typed.out / "calibrate.json"
    results: dict[str, Any] = json.loads(file.read_text("utf-8"))["models"] if file.exists() else {}
    for one in typed.models:
        name, _, place = one.partition("=")
        model, _, facts = place.partition(",")
        found = measured(
            Path(model), Path(facts) if facts else None, Home(typed.home.resolve()), typed.budget
        )
        results[name] = plain(found)
        content = {"machine": platform.platform(), "python": platform.python_version(), "models": results}
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (typed.out / "calibrate.md").write_text(table(results) + "\n", encoding="utf-8")
    plot(results, typed.out / "calibrate.svg")
    print(table(results))


if __name__ == "__main__":
    main()
