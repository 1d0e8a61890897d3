"""The figures of causal tracing: heat maps by layer and token (Figure 8), and bars by layer (Figure 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editing.tracing.interventions import ROLES
from editing.tracing.report import LAST_SUBJECT
from editing.tracing.trace import TraceResult

SEVERED = {
    "nothing": ("nothing severed", "#0072B2", ""),
    "mlp": ("MLPs severed", "#D55E00", "//"),
    "attention": ("attention severed", "#009E73", ".."),
}
"""What is severed → label, colour, hatching; the colours are Okabe and Ito's, for colour-blind readers."""
KINDS = {
    "state": ("one state", "#0072B2", "o", "-"),
    "mlp": ("a window of MLP outputs", "#D55E00", "s", "--"),
    "attention": ("a window of attention outputs", "#009E73", "^", "-."),
}
ANNOTATED = 12
"""Models with at most so many layers have the figures written into the heat maps."""


def plot(result: TraceResult, *files: Path, count: int = 5) -> None:
    """Draw all figures on one image, in the format of each file's name; `count` is the most layers that R may have.

    Raises ModuleNotFoundError without matplotlib, which kbsync does not otherwise need.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    depth = len(result.severed["nothing"])
    canvas = pyplot.figure(figsize=(max(12.0, 7 + 0.36 * depth), 8.5), layout="constrained")
    try:
        maps, curves = canvas.subfigures(2, 1, squeeze=False, height_ratios=[1, 1.1])[:, 0]
        _draw_maps(maps, result)
        bars, lines = curves.subplots(1, 2, width_ratios=[1.4, 1], sharey=True)
        _draw_bars(bars, result, result.suggested_layers(count))
        _draw_lines(lines, result)
        for file in files:
            canvas.savefig(file, dpi=120)
    finally:
        pyplot.close(canvas)


def _draw_maps(canvas: Any, result: TraceResult) -> None:
    """What is recovered by restoring at each layer and token."""
    axes = canvas.subplots(1, 3, sharey=True)
    most = max(v for rows in result.effects.values() for row in rows for v in row if v is not None)
    for axis, (kind, rows) in zip(axes, result.effects.items(), strict=True):
        cells = [[float("nan") if v is None else v for v in column] for column in zip(*rows, strict=True)]
        image = axis.imshow(cells, aspect="auto", cmap="Purples", vmin=0, vmax=most)
        axis.set_title(f"restored: {KINDS[kind][0]}", fontsize=10)
        axis.set_xlabel("layer")
        axis.set_xticks(range(0, len(rows), 1 if len(rows) <= ANNOTATED else 3))
        axis.set_yticks(range(len(ROLES)), ROLES)
        if len(rows) <= ANNOTATED:
            _annotate(axis, rows, most)
    canvas.colorbar(image, ax=axes, label="recovered P[o]")


def _annotate(axis: Any, rows: list[list[float | None]], most: float) -> None:
    for layer, row in enumerate(rows):
        for role, value in enumerate(row):
            text = "–" if value is None else f"{value:.2f}".replace("-0.00", "0.00")
            dark = value is not None and value > 0.6 * most
            axis.text(
                layer, role, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )


def _draw_bars(axis: Any, result: TraceResult, best: tuple[int, ...]) -> None:
    """One restored state at the subject's last token, with modules severed there."""
    width = 0.27
    for number, (name, curve) in enumerate(result.severed.items()):
        label, colour, hatch = SEVERED[name]
        places = [layer + (number - 1) * width for layer in range(len(curve))]
        look = {"color": colour, "hatch": hatch, "edgecolor": "white", "linewidth": 0.4}
        axis.bar(places, curve, width, label=label, **look)
        if bounds := result.intervals.get(name):
            low = [value - interval[0] for value, interval in zip(curve, bounds, strict=True)]
            high = [interval[1] - value for value, interval in zip(curve, bounds, strict=True)]
            axis.errorbar(
                places, curve, yerr=[low, high], fmt="none", ecolor="black", elinewidth=0.8, capsize=1.5
            )
    axis.axvspan(
        best[0] - 0.5, best[-1] + 0.5, color="#F0E442", alpha=0.25, lw=0, zorder=0, label="recommended R"
    )
    axis.set_title("one state restored at the subject's last token", fontsize=10)
    axis.set_ylabel("recovered P[o]")
    _finish(axis, len(result.severed["nothing"]))


def _draw_lines(axis: Any, result: TraceResult) -> None:
    """The row of the heat maps that belongs to the subject's last token, with intervals."""
    for kind, rows in result.effects.items():
        label, colour, marker, line = KINDS[kind]
        values = [row[LAST_SUBJECT] for row in rows]
        look = {"color": colour, "marker": marker, "linestyle": line, "markersize": 4}
        axis.plot([float("nan") if v is None else v for v in values], label=label, **look)
        bounds = [row[LAST_SUBJECT] for row in result.effect_intervals.get(kind, ())]
        known = [(layer, *interval) for layer, interval in enumerate(bounds) if interval is not None]
        if known:
            layers, low, high = zip(*known, strict=True)
            axis.fill_between(layers, low, high, color=colour, alpha=0.15, lw=0)
    axis.set_title("restored at the subject's last token", fontsize=10)
    _finish(axis, len(result.severed["nothing"]))


def _finish(axis: Any, depth: int) -> None:
    axis.set_xlabel("layer")
    axis.set_xticks(range(0, depth, 1 if depth <= ANNOTATED else 3))
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    axis.legend(fontsize=8)
