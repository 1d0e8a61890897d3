"""Plots: colours that colour-blind readers can tell apart, a marker for each line, intervals as bands or bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kbsync.errors import BadConfiguration
from kbsync.experiments.scores import Measured

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31", "#7F7F7F")
"""Okabe and Ito's palette; its yellow, which is hard to see on white, is replaced by a brown and a grey."""
MARKERS = "osD^vPX*<"
INSIDE = 0.25
"""An interval that begins above this leaves room for the value within the bar."""
STYLES = ("-", "--", "-.", ":")


def require_matplotlib() -> None:
    """Raise BadConfiguration, before any work begins, if plots cannot be drawn."""
    if find_spec("matplotlib") is None:
        raise BadConfiguration(
            "plots need matplotlib, which is not installed", "install it with `pip install 'kbsync[plot]'`"
        )


@contextmanager
def figure(file: Path) -> Iterator[Any]:
    """A matplotlib figure, written to `file` at the end of the block."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    canvas = pyplot.figure(layout="constrained")
    try:
        yield canvas
        canvas.savefig(file, dpi=130)
    finally:
        pyplot.close(canvas)


def style(number: int) -> dict[str, Any]:
    """How the line of this number is drawn."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": STYLES[number % len(STYLES)],
        "markersize": 5,
    }


def band(axis: Any, points: Sequence[tuple[float, Measured]], label: str, number: int) -> None:
    """A line with its interval as a band."""
    if not points:
        return
    across = [at for at, _ in points]
    look = style(number)
    axis.plot(across, [m.value for _, m in points], label=label, **look)
    if len(points) == 1:
        ((at, value),) = points
        spread = [[value.value - value.low], [value.high - value.value]]
        axis.errorbar(at, value.value, yerr=spread, color=look["color"], capsize=3)
    axis.fill_between(
        across, [m.low for _, m in points], [m.high for _, m in points], color=look["color"], alpha=0.12, lw=0
    )


def bars(axis: Any, names: Sequence[str], values: Sequence[Measured | None]) -> None:
    """Horizontal bars with their intervals, the first one on top; a value that is missing says so."""
    for place, value in enumerate(values):
        if value is None:
            axis.text(0.02, place, "not measured", va="center", fontsize=8)
            continue
        axis.barh(place, value.value, color="#8FC1E3", height=0.7)
        spread = [[value.value - value.low], [value.high - value.value]]
        axis.errorbar(value.value, place, xerr=spread, color="black", capsize=3, lw=1)
        # Within the bar where it is long enough, else beyond its interval.
        inside = value.low > INSIDE
        axis.text(0.02 if inside else value.high + 0.02, place, f"{value.value:.2f}", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), list(names))
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_xlim(0, 1.02)
    axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)


def finish(axis: Any, *, title: str, x: str = "", y: str = "", legend: bool = True) -> None:
    """Labels, a light grid, and a legend."""
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
    if legend and axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=7)


def legend_below(canvas: Any, axis: Any) -> None:
    """One legend for all panels, which have the lines of `axis`, where it covers none of them."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        canvas.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), fontsize=8)


def scores_axis(axis: Any, lowest: float) -> None:
    """A y axis of scores up to 1 that begins at a tenth below the lowest one shown."""
    axis.set_ylim(max(math.floor(10 * lowest - 1e-9) / 10 - 0.02, -0.02), 1.01)


def counts_axis(axis: Any, counts: Sequence[float]) -> None:
    """A logarithmic axis of numbers of facts, with the numbers written out."""
    axis.set_xscale("log")
    axis.set_xticks(list(counts), [f"{count:g}" for count in counts], fontsize=7)
    axis.minorticks_off()


def plain_logarithms(axis: Any) -> None:
    """A logarithmic y axis whose labels are plain numbers, and which shows no difference near 1 as if it were large."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.set_ylim(min(low, 0.95), max(high, 1.25))
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 1.2, 1.5, 2.0, 3.0, 5.0)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
