"""The paper's two stories: one set of facts, the model before and after, question by question."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from kbsync.experiments.cases import EditCase
from kbsync.experiments.drawing import bars
from kbsync.experiments.measuring import UNEDITED, EditTrial
from kbsync.experiments.report import Findings, TextTable, gate_table, score_table
from kbsync.experiments.setup import MEMIT, Series, Setup, run

SHOWN = 20
"""Facts that the table shows one by one."""
MEASURES = ("S", "ES", "PS", "NS", "strict", "strict_paraphrase")


def story(setup: Setup, title: str, cases: Sequence[EditCase]) -> Findings:
    """Edit `cases` with MEMIT, all at once, and compare the model with what it was."""
    n = len(cases)
    series = run(
        setup,
        [
            EditTrial(line, setup.with_editor(MEMIT), tuple(cases), n, setup.variants)
            for line in (UNEDITED, MEMIT)
        ],
    )
    before, after = series
    facts = () if after.error else after.scores[0].facts
    rows = tuple(
        (case.record.request.rendered, case.record.previous, case.record.request.target, bool(fact.strict))
        for case, fact in zip(cases[:SHOWN], facts, strict=False)
    )
    stated = sum(fact.strict for fact in facts)
    return Findings(
        f"{title}: {n} facts at once",
        [
            score_table("before and after", series, "n", MEASURES),
            gate_table(series, "n"),
            TextTable(f"the first {len(rows)} facts", ("prompt", "before", "wanted", "stated now"), rows),
        ],
        {"": partial(_draw, series=(before, after))},
        [one.entry() for one in series],
        [after.error or f"{stated:g} of {n} facts are stated after the edit, by the strict argmax."],
    )


PANEL = {
    **{name: name for name in ("S", "ES", "PS", "NS")},
    "strict": "strict argmax",
    "strict_paraphrase": "strict, paraphrases",
    "said": "said in free answers",
}
"""Measure → its label in the plot."""


def _draw(canvas: Any, series: Sequence[Series]) -> None:
    canvas.set_size_inches(9, 3.4)
    shown = [name for name in PANEL if any(one.measure(name) is not None for one in series)]
    axes = canvas.subplots(1, len(series), sharey=True)
    for axis, one in zip(axes, series, strict=True):
        bars(axis, [PANEL[name] for name in shown], [one.measure(name) for name in shown])
        axis.set_title("before" if one.line == UNEDITED else "after the edit", fontsize=10)
