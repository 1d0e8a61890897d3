"""Relation by relation: how well facts of one relation can be edited together (Figure 6)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from kbsync.experiments.drawing import bars
from kbsync.experiments.measuring import EditTrial
from kbsync.experiments.report import Findings, gate_table, score_table
from kbsync.experiments.setup import MEMIT, Series, Setup, run

QUICK, FULL = 10, 300
RELATIONS = {True: 8, False: 40}
"""Relations that are measured, by whether the run is quick."""
SHARE = 2
"""Of a relation's facts one in so many is edited, so that neighbours are left."""
LEAST = 4
"""Facts that a relation needs to be measured."""
PANELS = {"S": "S", "ES": "ES", "PS": "PS", "NS": "NS"}


def trials(setup: Setup) -> list[EditTrial]:
    """As many relations as the size allows, those with most facts first."""
    found = []
    for relation, count in list(setup.editable_relations().items())[: RELATIONS[setup.quick]]:
        n = min(setup.size(QUICK, FULL), count // SHARE)
        if n < LEAST:
            continue
        for seed in setup.seeds:
            cases = setup.cases(seed, n, {relation})
            name = setup.name(relation)
            found.append(EditTrial(name, setup.with_editor(MEMIT), cases, n, setup.variants, seed))
    return found


def experiment(setup: Setup) -> Findings:
    series = run(setup, trials(setup))
    ordered = sorted(series, key=_rank)
    notes = [] if series else [f"No relation has {LEAST * SHARE} facts that can be edited."]
    return Findings(
        "Relation by relation",
        [
            score_table("each relation by itself", ordered, "facts", ("S", "ES", "PS", "NS", "strict")),
            gate_table(ordered, "facts"),
        ],
        {"": partial(_draw, series=ordered)},
        [one.entry() for one in series],
        notes,
    )


def _rank(series: Series) -> float:
    score = series.measure("S")
    return 1.0 if score is None else -score.value


def _draw(canvas: Any, series: Sequence[Series]) -> None:
    canvas.set_size_inches(13, 1.4 + 0.32 * max(len(series), 2))
    axes = canvas.subplots(1, len(PANELS), sharey=True)
    names = [f"{one.line} ({one.at})" for one in series]
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        bars(axis, names, [one.measure(name) for one in series])
        axis.set_title(title, fontsize=10)
    canvas.supxlabel("relation (facts edited at once)", fontsize=9)
