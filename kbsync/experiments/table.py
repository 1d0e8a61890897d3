"""All editors with many facts at once, in the measures of CounterFact and of zsRE (Tables 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from kbsync.experiments.drawing import bars
from kbsync.experiments.measuring import UNEDITED, EditTrial
from kbsync.experiments.report import Findings, gate_table, score_table
from kbsync.experiments.scaling import comparisons
from kbsync.experiments.setup import MEMIT, Series, Setup, run

QUICK, FULL = 60, 10_000
WRITTEN, WRITTEN_QUICK = 100, 10
"""Facts that the model writes about (GE, RS)."""
COUNTERFACT = ("S", "ES", "PS", "NS", "GE", "RS")
ZSRE = ("accuracy", "accuracy_paraphrase", "specificity")
STRICT = ("strict", "strict_paraphrase", "strict_neighbour", "two_hop")
PANELS = {"S": "S", "ES": "ES", "PS": "PS", "NS": "NS", "strict": "strict argmax"}


def trials(setup: Setup) -> list[EditTrial]:
    n, written = setup.size(QUICK, FULL), setup.size(WRITTEN_QUICK, WRITTEN)
    found = []
    for seed in setup.seeds:
        cases = setup.cases(seed, n)
        for line in (UNEDITED, *setup.editors):
            settings = setup.with_editor(MEMIT if line == UNEDITED else line)
            found.append(EditTrial(line, settings, cases, n, setup.variants, seed, generated=written))
    return found


def experiment(setup: Setup) -> Findings:
    series = run(setup, trials(setup))
    n = series[0].at
    return Findings(
        f"All editors, {n} facts at once",
        [
            score_table("as for CounterFact (Table 2)", series, "n", COUNTERFACT),
            score_table(
                "as for zsRE (Table 1): accuracy of single tokens, teacher-forced", series, "n", ZSRE
            ),
            score_table("strict argmax of all tokens", series, "n", STRICT),
            gate_table(series, "n"),
        ],
        {"": partial(_draw, series=series)},
        [one.entry() for one in series],
        comparisons(series),
    )


def _draw(canvas: Any, series: Sequence[Series]) -> None:
    canvas.set_size_inches(14, 1.6 + 0.42 * len(series))
    axes = canvas.subplots(1, len(PANELS), sharey=True)
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        bars(axis, [one.line for one in series], [one.measure(name) for one in series])
        axis.set_title(title, fontsize=10)
    canvas.supxlabel(f"{series[0].at} facts at once", fontsize=9)
