"""The report of a calibration: one HTML page without outside resources, with plots where matplotlib is installed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.calibration.intervals import score_interval
from editing.calibration.judgement import SHARES, Judgement
from editing.preflight import duration
from kbsync.gates import sample_bound
from kbsync.standalone.calibrated import Calibrated

if TYPE_CHECKING:
    from editing.calibration.calibrate import Calibration

TEMPLATE = Path(__file__).with_name("calibration_report.html")
CONFIDENCE = 0.975
"""Of each of the two bounds: together an interval of 95 %."""
PLOTTED = ("S", "efficacy", "paraphrase", "neighbourhood", "same_subject", "known_retention", "said")


def intervals(judged: Judgement) -> dict[str, tuple[float, float]]:
    """Share, or S → (lower, upper) bound at 95 %; the questions about one fact are not independent, and count so."""
    score = score_interval(judged)
    found = {"S": score} if score is not None else {}
    for name in SHARES:
        by_fact = getattr(judged, name)
        k, n = sum(k for k, _ in by_fact), sum(n for _, n in by_fact)
        if n:
            low = sample_bound(k, n, by_fact, CONFIDENCE, "at_least")
            found[name] = (low, sample_bound(k, n, by_fact, CONFIDENCE, "at_most"))
    return found


def page(found: Calibration, result: Calibrated, floors: Mapping[str, float]) -> str:
    """The report as HTML; every text in it is escaped."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    measures = list(result.scores["after"] or {})
    return template.render(
        result=result,
        floors=floors,
        measures=measures,
        capacity=found.capacity,
        left_out=[(one.stage, one.what, duration(one.seconds)) for one in found.left_out],
        plots=_plots(found, result) if find_spec("matplotlib") else [],
    )


def _plots(found: Calibration, result: Calibrated) -> list[str]:
    """The search and the capacity curve, as SVG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(12, 4.2), layout="constrained")
    trials = [trial for trial in found.trials if trial.judgement is not None]
    left.plot([trial.rank for trial in trials], marker="o", color="tab:purple", linewidth=1)
    left.set_xticks(
        range(len(trials)), [trial.stage for trial in trials], rotation=60, ha="right", fontsize=7
    )
    left.set_ylabel("rank on the search split")
    _draw_capacity(right, result.capacity)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    pyplot.close(figure)
    return [text.getvalue()[text.getvalue().index("<svg") :]]


def _draw_capacity(axis: Any, points: list[dict[str, Any]]) -> None:
    for name in PLOTTED:
        known = [(point["n"], point[name]) for point in points if name in point]
        if known:
            axis.plot(*zip(*known, strict=True), marker="o", label=name)
    axis.set_xscale("log")
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("facts edited at once")
    axis.grid(alpha=0.3)
    if points:
        axis.legend(fontsize=7)
