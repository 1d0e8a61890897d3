"""Sixty daily batches with overwrites and retractions: rebuilding from the base, against editing the edited model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from kbsync.experiments.calendar import DAYS, EditDay, calendar
from kbsync.experiments.drawing import band, finish, legend_below, plain_logarithms
from kbsync.experiments.report import Findings, TextTable, gate_table
from kbsync.experiments.scores import Measured, difference, measured, trial_entry
from kbsync.experiments.setup import MEMIT, Series, Setup
from kbsync.experiments.walking import ONE_GRADIENT, DayScores, Walk, Way

QUICK, FULL = 60, 300
"""Facts that are added over all days."""
EVERY = {True: 20, False: 5}
"""Every so many days the model is judged, by whether the run is quick."""
ENOUGH = 0.02
"""How much S may differ between rebuilding daily and one edit of the same facts."""
REBUILT, ONCE = "rebuilt from the base", "one edit of the last day's facts"
WAYS = (
    Way(REBUILT, MEMIT, rebuild=True),
    Way("stacked", MEMIT),
    Way("stacked, keys preserved", MEMIT, preserves=True),
    Way("null space, stacked", "memit_null_space", preserves=True),
    Way("one gradient, stacked", ONE_GRADIENT),
)
PANELS = {
    "S": "S of all facts that hold",
    "strict": "strict argmax",
    "reverted": "retracted facts answered as by the base",
    "perplexity": "perplexity / base",
}


def experiment(setup: Setup) -> Findings:
    judged = frozenset(range(EVERY[setup.quick], DAYS + 1, EVERY[setup.quick]))
    ways = [way for way in WAYS if way.editor in setup.editors]
    found: dict[str, list[list[DayScores]]] = {way.name: [] for way in ways}
    once: list[DayScores] = []
    for seed in setup.seeds:
        days = calendar(setup.cases(seed, setup.size(QUICK, FULL)), seed=seed)
        for way in ways:
            walk = Walk(setup.bench, way, setup.with_editor(way.editor), setup.variants, days, judged)
            found[way.name].append(walk.run())
        once.append(_once(setup, days[-1]))
    every = {**found, ONCE: [[one] for one in once]}
    return Findings(
        f"{DAYS} daily batches, with overwrites and retractions",
        [_table(every), gate_table(_ends(every), "day")],
        {"": partial(_draw, found=found)},
        [_entry(name, days) for name, days in every.items()],
        _notes(found, once),
    )


def _once(setup: Setup, last: EditDay) -> DayScores:
    """The facts of the last day in one edit of the base, with every δ optimised again."""
    day = replace(last, added=last.wanted, retracted=())
    way = Way(ONCE, MEMIT)
    (found,) = Walk(
        setup.bench, way, setup.with_editor(MEMIT), setup.variants, [day], frozenset({day.number})
    ).run()
    return found


def _at(days: Sequence[Sequence[DayScores]], number: int) -> list[DayScores]:
    return [one for walk in days for one in walk if one.day == number]


def _measure(some: Sequence[DayScores], name: str) -> Measured | None:
    """A measure over the seeds of one day; what has no interval by fact spans the seeds."""
    if not some or any(one.scores.error for one in some):
        return None
    if name == "perplexity":
        values = [one.scores.perplexity_ratio for one in some]
    elif name == "reverted":
        values = [one.reverted for one in some if one.reverted is not None]
    else:
        return measured([one.scores for one in some]).get(name)
    return Measured(sum(values) / len(values), min(values), max(values)) if values else None


def _numbers(days: Sequence[Sequence[DayScores]]) -> list[int]:
    return sorted({one.day for walk in days for one in walk})


def _ends(found: Mapping[str, Sequence[Sequence[DayScores]]]) -> list[Series]:
    """The last judged day of each way."""
    last = {name: _at(days, _numbers(days)[-1]) for name, days in found.items()}
    return [Series(name, days[0].day, (), tuple(one.scores for one in days)) for name, days in last.items()]


def _table(found: Mapping[str, Sequence[Sequence[DayScores]]]) -> TextTable:
    rows = []
    for name, days in found.items():
        last = _at(days, _numbers(days)[-1])
        error = next((one.scores.error for one in last if one.scores.error), "")
        measures = [_measure(last, what) for what in ("S", "ES", "PS", "NS", "strict", "reverted")]
        ratio = _measure(last, "perplexity")
        rows.append((name, last[0].day, *measures, ratio.value if ratio else None, error))
    columns = ("", "day", "S", "ES", "PS", "NS", "strict", "retracted answered as before", "perplexity", "")
    return TextTable("at the end", columns, tuple(rows))


def _entry(name: str, days: Sequence[Sequence[DayScores]]) -> dict[str, Any]:
    return {
        "way": name,
        "days": [
            {
                "day": number,
                "wanted": [one.wanted for one in _at(days, number)],
                "seconds": [one.seconds for one in _at(days, number)],
                "measures": {what: _measure(_at(days, number), what) for what in ("ES", "PS", "NS", *PANELS)},
                "by_fact": [trial_entry(one.scores) for one in _at(days, number)],
            }
            for number in _numbers(days)
        ],
    }


def _notes(found: Mapping[str, Sequence[Sequence[DayScores]]], once: Sequence[DayScores]) -> list[str]:
    """Every way's last day against one edit of the same facts."""
    notes = []
    for name, days in found.items():
        last = _at(days, DAYS)
        if not last or any(one.scores.error for one in (*last, *once)):
            notes.append(f"{name}: the sequence could not be carried to its end.")
            continue
        gap = difference([one.scores for one in last], [one.scores for one in once])
        if gap is not None:
            within = "within" if abs(gap.value) <= ENOUGH else "not within"
            notes.append(
                f"{name}: S after {DAYS} days less S of one edit of the same facts is {gap}, {within} {ENOUGH}."
            )
    return notes


def _draw(canvas: Any, found: Mapping[str, Sequence[Sequence[DayScores]]]) -> None:
    canvas.set_size_inches(11, 7)
    axes = canvas.subplots(2, 2).ravel()
    for axis, (what, title) in zip(axes, PANELS.items(), strict=True):
        for number, (name, days) in enumerate(found.items()):
            points = [
                (float(day), value)
                for day in _numbers(days)
                if (value := _measure(_at(days, day), what)) is not None
            ]
            band(axis, points, name, number)
        if what == "perplexity":
            plain_logarithms(axis)
        else:
            axis.set_ylim(-0.02, 1.02)
        finish(axis, title=title, x="day", legend=False)
    legend_below(canvas, axes[0])
