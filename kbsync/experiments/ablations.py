"""What MEMIT's choices are worth (Figures 11 to 13): which layers, MLP or attention, and λ.

Everything else is as in the settings of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from kbsync.experiments.drawing import band, bars, finish
from kbsync.experiments.measuring import ATTENTION, EditTrial
from kbsync.experiments.report import Findings, gate_table, score_table
from kbsync.experiments.setup import MEMIT, Series, Setup, run

QUICK, FULL = 300, 10_000
FACTORS = {
    True: (1e-5, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e3),
    False: (1e-4, 1e-3, 1e-2, 1e-1, 0.3, 1.0, 3.0, 10.0, 1e2, 1e3, 1e4),
}
"""Multiples of the model's λ, by whether the run is quick."""
LAMBDA, LAYERS, WHERE = "lambda", "layers", "where"
PANELS = {"S": "S", "ES": "ES", "PS": "PS", "NS": "NS", "strict": "strict argmax"}


def layer_sets(depth: int, own: Sequence[int]) -> list[tuple[int, ...]]:
    """R as set, its last layer alone, and as many consecutive layers elsewhere: earlier, later, and at the end.

    The last layer of the model is left out, because nothing reads what is written there.
    """
    size, last = len(own), depth - 2
    starts = {0, own[0], min(own[-1] + 1, last - size + 1), (last - size + 1) // 2, last - size + 1}
    windows = [tuple(range(start, start + size)) for start in sorted(starts) if start >= 0]
    singles = [(own[-1],), (last,)]
    return list(dict.fromkeys([tuple(own), *singles, *(w for w in windows if w[-1] <= last)]))


def trials(setup: Setup) -> list[tuple[str, EditTrial]]:
    """(which ablation, trial)."""
    from editing.memit.preparation import chosen_layers
    from editing.model.architectures import described, locate_parts

    base = setup.with_editor(MEMIT)
    parts = locate_parts(setup.bench.base.model, described(base))
    own = chosen_layers(parts, base)
    n = setup.size(QUICK, FULL)
    lam = base.lam if base.lam != "auto" else 0.0
    found: list[tuple[str, EditTrial]] = []
    for seed in setup.seeds:
        trial = EditTrial(_shown(own), base, setup.cases(seed, n), n, setup.variants, seed)
        if not lam:
            lam = setup.bench.scores(trial).lam  # what `auto` comes to
        for layers in layer_sets(len(parts.blocks), own):
            found.append((LAYERS, replace(trial, line=_shown(layers), settings=replace(base, layers=layers))))
        found.append((WHERE, replace(trial, line="MLP", settings=replace(base, layers=own))))
        attention = replace(base, editor=ATTENTION, layers=own)
        found.append((WHERE, replace(trial, line="attention", settings=attention)))
        for factor in FACTORS[setup.quick] if lam else ():
            found.append(
                (
                    LAMBDA,
                    replace(trial, line=LAMBDA, at=lam * factor, settings=replace(base, lam=lam * factor)),
                )
            )
    return found


def _shown(layers: Sequence[int]) -> str:
    if len(layers) == 1:
        return f"layer {layers[0]}"
    return f"layers {layers[0]}–{layers[-1]}"


def experiment(setup: Setup) -> Findings:
    planned = trials(setup)
    setup.bench.run([trial for _, trial in planned])  # all of one seed first, if there is not time for more
    found = {kind: run(setup, [t for own, t in planned if own == kind]) for kind in (LAYERS, WHERE, LAMBDA)}
    measures = ("S", "ES", "PS", "NS", "strict")
    titles = {
        LAYERS: "which layers (Figure 11)",
        WHERE: "MLP or attention (Figure 13)",
        LAMBDA: "λ (Figure 12)",
    }
    tables = []
    for kind, series in found.items():
        at = "λ" if kind == LAMBDA else "facts"
        tables += [score_table(titles[kind], series, at, measures), gate_table(series, at)]
    plots = {"": partial(_draw_bars, found=found)}
    if found[LAMBDA]:
        plots["-lambda"] = partial(_draw_lambda, series=found[LAMBDA])
    results = [{"ablation": kind, **one.entry()} for kind, series in found.items() for one in series]
    return Findings(
        "What the choices of MEMIT are worth",
        tables,
        plots,
        results,
        [*_against_first(found[LAYERS]), *_against_first(found[WHERE]), *_maximum(found[LAMBDA])],
    )


def _against_first(series: Sequence[Series]) -> list[str]:
    """The other choices against the first, fact by fact."""
    first, *others = series
    notes = []
    for other in others:
        if first.error or other.error:
            notes.append(f"{other.line}: {other.error or first.error}")
            continue
        gap = first.less(other)
        if gap is not None:
            verdict = "better than" if gap.low > 0 else "worse than" if gap.high < 0 else "as good as"
            notes.append(f"{first.line} is {verdict} {other.line}: S differs by {gap}.")
    return notes


def _maximum(series: Sequence[Series]) -> list[str]:
    """Whether S has its maximum over λ inside the range."""
    points = [(float(one.at), value) for one in series if (value := one.measure("S")) is not None]
    if not points:
        return ["No value of λ could be measured."]
    best, value = max(points, key=lambda point: point[1].value)
    inside = min(at for at, _ in points) < best < max(at for at, _ in points)
    return [
        f"S is largest at λ = {best:g} ({value}), "
        + ("inside the range: there is a maximum." if inside else "at an end of the range.")
    ]


def _draw_bars(canvas: Any, found: dict[str, list[Series]]) -> None:
    rows = [*found[LAYERS], *(one for one in found[WHERE] if one.line != "MLP")]
    canvas.set_size_inches(14, 1.5 + 0.4 * len(rows))
    axes = canvas.subplots(1, len(PANELS), sharey=True)
    for axis, (name, title) in zip(axes, PANELS.items(), strict=True):
        bars(axis, [one.line for one in rows], [one.measure(name) for one in rows])
        axis.set_title(title, fontsize=10)
    canvas.supxlabel(f"{rows[0].at} facts at once; the first bar is the model's setting", fontsize=9)


def _draw_lambda(canvas: Any, series: Sequence[Series]) -> None:
    canvas.set_size_inches(7, 4.2)
    axis = canvas.subplots()
    for number, (name, title) in enumerate(PANELS.items()):
        points = [(float(one.at), value) for one in series if (value := one.measure(name)) is not None]
        band(axis, points, title, number)
    axis.set_xscale("log")
    axis.set_ylim(-0.02, 1.02)
    finish(axis, title=f"{len(series[0].trials[0].cases)} facts at once", x="λ", y="score")
