"""Scores against the number of facts edited at once (Figure 5): n_i = exp(ln(10,000) · i / 16)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from kbsync.experiments.drawing import band, counts_axis, finish, legend_below, plain_logarithms
from kbsync.experiments.measuring import UNEDITED, EditTrial
from kbsync.experiments.report import Findings, gate_table, score_table
from kbsync.experiments.scores import Measured
from kbsync.experiments.setup import MEMIT, Series, Setup, run

LARGEST = 10_000
STEPS = 16
QUICK = 100
PANELS = {
    "S": "S: score",
    "ES": "ES: efficacy",
    "PS": "PS: paraphrase",
    "NS": "NS: neighbourhood",
    "strict": "edited prompt, strict argmax",
    "perplexity": "perplexity / base",
}


def sizes(available: int, *, quick: bool = False) -> list[int]:
    """The numbers of facts, as far as there are so many; a quick run takes every second value up to `QUICK`."""
    step = 2 if quick else 1
    most = min(available, QUICK if quick else LARGEST)
    found = [round(math.exp(math.log(LARGEST) * i / STEPS)) for i in range(0, STEPS + 1, step)]
    return [n for n in found if n <= most]


def trials(setup: Setup) -> list[EditTrial]:
    """Every editor with every number of facts and every seed."""
    counts = sizes(setup.size(QUICK, LARGEST), quick=setup.quick)
    found = []
    for seed in setup.seeds:
        cases = setup.cases(seed, counts[-1])
        for line in (UNEDITED, *setup.editors):
            for n in counts if line != UNEDITED else counts[-1:]:
                editor = MEMIT if line == UNEDITED else line
                found.append(EditTrial(line, setup.with_editor(editor), cases[:n], n, setup.variants, seed))
    return found


def experiment(setup: Setup) -> Findings:
    series = run(setup, trials(setup))
    return Findings(
        "Scores against the number of facts edited at once",
        [
            score_table("scores", series, "n", ("S", "ES", "PS", "NS", "strict", "strict_neighbour")),
            gate_table(series, "n"),
        ],
        {"": partial(_draw, series=series)},
        [one.entry() for one in series],
        comparisons(series),
    )


def comparisons(series: Sequence[Series]) -> list[str]:
    """MEMIT against every other editor with the most facts that both have edited, compared fact by fact."""
    own = {one.at: one for one in series if one.line == MEMIT}
    found = []
    for line in dict.fromkeys(one.line for one in series if own and one.line not in (MEMIT, UNEDITED)):
        others = [one for one in series if one.line == line and one.at in own]
        failed = [error for one in others if (error := one.error or own[one.at].error)]
        if failed:
            found.append(f"{line}: {failed[-1]}")
        gaps = [(one.at, gap) for one in others if (gap := own[one.at].less(one)) is not None]
        for at, gap in gaps[-1:]:
            verdict = "above" if gap.low > 0 else "below" if gap.high < 0 else "not distinguishable from"
            found.append(f"At n = {at}, S of {MEMIT} is {verdict} that of {line}: difference {gap}.")
    return found


def _draw(canvas: Any, series: Sequence[Series]) -> None:
    canvas.set_size_inches(12, 7.5)
    axes = canvas.subplots(2, 3).ravel()
    lines = [line for line in dict.fromkeys(one.line for one in series) if line != UNEDITED]
    counts = sorted({float(one.at) for one in series})
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        for number, line in enumerate(lines):
            band(axis, _points([one for one in series if one.line == line], name), line, number)
        for _, unedited in _points([one for one in series if one.line == UNEDITED], name):
            axis.axhline(unedited.value, color="grey", lw=1, ls=(0, (1, 2)), label=UNEDITED)
        counts_axis(axis, counts)
        if name == "perplexity":
            plain_logarithms(axis)
        else:
            axis.set_ylim(-0.02, 1.02)
        finish(axis, title=title, x="facts edited at once", legend=False)
    legend_below(canvas, axes[0])


def _points(series: Sequence[Series], name: str) -> list[tuple[float, Measured]]:
    """(n, measure) of one line; perplexity has no interval by fact, so its band spans the seeds."""
    found = []
    for one in series:
        if one.error:
            continue
        if name == "perplexity":
            ratios = [scores.perplexity_ratio for scores in one.scores]
            value: Measured | None = Measured(sum(ratios) / len(ratios), min(ratios), max(ratios))
        else:
            value = one.measure(name)
        if value is not None:
            found.append((float(one.at), value))
    return found
