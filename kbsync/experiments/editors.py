"""Every editor's quality against its cost: seconds a fact, seconds for one more fact, memory (a Pareto plot)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from statistics import median
from typing import Any

from editing.errors import EditingError
from editing.model.devices import input_device
from kbsync.experiments.drawing import COLOURS, MARKERS, finish, legend_below
from kbsync.experiments.limits import OutOfTime, in_time
from kbsync.experiments.measuring import Bench, EditTrial
from kbsync.experiments.memory import peak_memory, wall_time
from kbsync.experiments.report import Findings, TextTable, machine
from kbsync.experiments.retrieving import reuse_of
from kbsync.experiments.scores import Measured, TrialScores, measured, trial_entry
from kbsync.experiments.scratch import scratch_cache
from kbsync.experiments.setup import MEMIT, Setup

QUICK, FULL = 30, 1_000
GIGABYTE = 1e9
WIDE = 300.0
"""An axis that spans a larger factor has powers of ten as its only labels."""


@dataclass(frozen=True, slots=True)
class EditorCost:
    """What one editor costs; seconds are those of `_clock`."""

    seconds: float
    """For all facts with nothing cached but the statistics of the base."""
    one_more: float
    """For the same facts and one more, with what the first edit cached."""
    peak_bytes: int
    """Memory beyond the loaded model."""
    error: str = ""


def experiment(setup: Setup) -> Findings:
    n = setup.size(QUICK, FULL + 1) - 1
    scores: dict[str, list[TrialScores]] = {name: [] for name in setup.editors}
    costs: dict[str, list[EditorCost]] = {name: [] for name in setup.editors}
    for seed in setup.seeds:  # all editors with one seed first, if there is not time for more
        for name in setup.editors:
            trial = _trial(setup, name, seed, n)
            scores[name].append(setup.bench.scores(trial))
            costs[name].append(_cost(setup, trial))
    scores = {name: in_time(own, lambda one: one.error) for name, own in scores.items()}
    costs = {name: in_time(own, lambda one: one.error) for name, own in costs.items()}
    rows = {name: _row(name, n, costs[name], scores[name]) for name in setup.editors}
    return Findings(
        f"Quality against cost, {n} facts at once",
        [
            TextTable(
                "editors",
                (
                    "editor",
                    "reuse",
                    "S",
                    "strict",
                    "seconds a fact",
                    "seconds for one more",
                    "memory (GB)",
                    "",
                ),
                tuple(tuple(row.values()) for row in rows.values()),
            )
        ],
        {"": partial(_draw, rows=rows, n=n)},
        [
            {
                **rows[name],
                "costs": costs[name],
                "measures": {} if _error(scores[name]) else measured(scores[name]),
                "by_fact": [trial_entry(one) for one in scores[name]],
            }
            for name in setup.editors
        ],
        [*_notes(rows), *_durations(setup), *_training(setup, rows)],
    )


def _trial(setup: Setup, name: str, seed: int, n: int) -> EditTrial:
    return EditTrial(name, setup.with_editor(name), setup.cases(seed, n + 1)[:n], n, setup.variants, seed)


def _error(scores: Sequence[TrialScores]) -> str:
    return next((one.error for one in scores if one.error), "")


def _cost(setup: Setup, trial: EditTrial) -> EditorCost:
    """The cost of a trial, as it was measured on this machine before, or measured now."""
    bench = setup.bench
    further = setup.cases(trial.seed, len(trial.cases) + 1)
    try:
        identity = bench.identity(trial.settings)
    except EditingError as error:
        return EditorCost(0.0, 0.0, 0, str(error))
    key = bench.kept.key(
        identity
        | {
            "cost of": [asdict(case) for case in further],
            "variants": trial.variants,
            "machine": machine(input_device(bench.base.model).type),
            "clock": _clock(bench).__name__,
        }
    )
    found = bench.kept.get(key, EditorCost)
    if found is not None:
        return found
    try:
        return bench.kept.put(key, _measured(bench, trial, further))
    except OutOfTime as error:
        bench.limit.left_out.add(key)
        return EditorCost(0.0, 0.0, 0, str(error))


def _clock(bench: Bench) -> Callable[[], float]:
    """What durations are measured with: CPU time unless the model is on a GPU: other work hardly changes that."""
    return wall_time if input_device(bench.base.model).type == "cuda" else time.process_time


def _measured(bench: Bench, trial: EditTrial, further: Sequence[Any]) -> EditorCost:
    whole = bench.inputs(trial.cases, trial.settings, trial.variants)
    more = bench.inputs(further, trial.settings, trial.variants)
    clock = _clock(bench)
    try:
        with scratch_cache(bench.cache) as cache:
            began = clock()
            with peak_memory(input_device(bench.base.model)) as peak:
                bench.edited(replace(whole, cache=cache))
            middle = clock()
            bench.edited(replace(more, cache=cache))
            return EditorCost(middle - began, clock() - middle, peak.bytes)
    except OutOfTime:
        raise
    except EditingError as error:
        return EditorCost(0.0, 0.0, 0, str(error))


def _row(name: str, n: int, costs: Sequence[EditorCost], scores: Sequence[TrialScores]) -> dict[str, Any]:
    error = _error(scores) or next((one.error for one in costs if one.error), "")
    found: Mapping[str, Measured] = {} if error else measured(scores)
    return {
        "editor": name,
        "reuse": reuse_of(name),
        "S": found.get("S"),
        "strict": found.get("strict"),
        "seconds_a_fact": None if error else median(one.seconds for one in costs) / n,
        "seconds_one_more": None if error else median(one.one_more for one in costs),
        "gigabytes": None if error else max(one.peak_bytes for one in costs) / GIGABYTE,
        "error": error,
    }


def best(rows: Mapping[str, Mapping[str, Any]], cost: str) -> list[str]:
    """The editors that no other one beats in S without costing more, cheapest first; none whose S is 0."""
    able = [
        (row[cost], row["S"].value, name) for name, row in rows.items() if row["S"] and row[cost] is not None
    ]
    front, reached = [], 0.0
    for _, score, name in sorted(able, key=lambda one: (one[0], -one[1])):
        if score > reached:
            front.append(name)
            reached = score
    return front


def _notes(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = [f"{name}: {row['error']}" for name, row in rows.items() if row["error"]]
    front = best(rows, "seconds_one_more")
    found.append(
        f"No editor is both better and cheaper for one more fact than: {', '.join(front) or 'none'}."
    )
    able = {name: row["S"] for name, row in rows.items() if row["S"]}
    if able:
        top = max(able, key=lambda name: able[name].value)
        own = able.get(MEMIT)
        compared = ""
        if own is not None and top != MEMIT:
            beats = able[top].low > own.high
            compared = f", above {MEMIT}'s {own}" if beats else f" ({MEMIT}: {own}; the intervals overlap)"
        found.append(f"The highest S is that of {top}: {able[top]}{compared}.")
    return found


def _durations(setup: Setup) -> list[str]:
    if _clock(setup.bench) is not time.process_time:
        return []
    return ["Seconds are CPU time, summed over threads."]


def _training(setup: Setup, rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What editors with networks of their own cost once."""
    able = [name for name, row in rows.items() if not row["error"]]
    found = {name: setup.bench.networks(setup.with_editor(name)) for name in able}
    return [
        f"The networks of {name} were trained once for this model, in {networks.seconds:.0f} s on {networks.facts} "
        "counterfactual facts; that is not part of its seconds a fact."
        for name, networks in found.items()
        if networks is not None
    ]


def _draw(canvas: Any, rows: Mapping[str, Mapping[str, Any]], n: int) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    canvas.set_size_inches(14, 5)
    left, middle, right = canvas.subplots(1, 3)
    shown = {name: row for name, row in rows.items() if row["S"]}
    for axis, cost, label in (
        (left, "seconds_a_fact", f"seconds a fact (of {n}, nothing cached)"),
        (middle, "seconds_one_more", "seconds for one more fact"),
    ):
        for number, (name, row) in enumerate(shown.items()):
            look = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            score = row["S"]
            spread = [[score.value - score.low], [score.high - score.value]]
            axis.errorbar(
                row[cost], score.value, yerr=spread, capsize=3, ls="", markersize=8, label=name, **look
            )
        front = best(shown, cost)
        axis.plot(
            [shown[name][cost] for name in front],
            [shown[name]["S"].value for name in front],
            color="grey", lw=1, ls="--", zorder=0, label="Pareto front",
        )  # fmt: skip
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < WIDE else (1.0,)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_ylim(-0.02, 1.05)
        finish(axis, title="upper left is better", x=label, y="S", legend=False)
    legend_below(canvas, left)
    names = list(shown)
    right.barh(range(len(names)), [shown[name]["gigabytes"] for name in names], color="#8FC1E3")
    right.set_yticks(range(len(names)), names)
    right.invert_yaxis()
    finish(right, title="memory beyond the model", x="GB", legend=False)
