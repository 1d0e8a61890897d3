"""The result of causal tracing as a table, as JSON, and as the paper's figures."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from editing.tracing.interventions import ROLES
from editing.tracing.trace import TraceResult

COLOURS = {"nothing": "#0072B2", "mlp": "#D55E00", "attention": "#009E73"}
"""Of Okabe and Ito's palette, which colour-blind readers can tell apart."""


def as_json(result: TraceResult) -> dict[str, Any]:
    """All measurements, with the cost of severing and the suggested layers."""
    return {
        "roles": ROLES,
        **asdict(result),
        "cost_of_severing": result.cost_of_severing(),
        "suggested_layers": {str(count): result.suggested_layers(count) for count in (1, 2, 3, 5)},
    }


def table(result: TraceResult) -> str:
    """The severed effects by layer, and R."""
    lines = [
        f"{result.facts} facts, P[o] clean {result.clean:.3f}, corrupted {result.corrupted:.3f}",
        "effect of one restored state at the subject's last token, by what is severed above:",
        "layer   nothing      MLPs  attention   cost of severing the MLPs",
    ]
    severed, costs = result.severed, result.cost_of_severing()
    for layer, cost in enumerate(costs):
        cells = f"{severed['nothing'][layer]:9.3f} {severed['mlp'][layer]:9.3f} {severed['attention'][layer]:10.3f}"
        lines.append(f"{layer:5d} {cells}   {cost:9.3f}")
    lines.append(f"R, of two layers: {result.suggested_layers(2)}; of five: {result.suggested_layers(5)}")
    return "\n".join(lines)


def plot(result: TraceResult, file: Path) -> None:
    """Three heat maps (layer by token role) and the curves of Figure 3, as an image.

    Raises ModuleNotFoundError without matplotlib, which kbsync does not otherwise need.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(18, 4.5), layout="constrained")
    values = [v for rows in result.effects.values() for row in rows for v in row if v is not None]
    for axis, (kind, rows) in zip(axes, result.effects.items(), strict=False):
        cells = [[float("nan") if v is None else v for v in column] for column in zip(*rows, strict=True)]
        image = axis.imshow(cells, aspect="auto", cmap="Purples", vmin=0, vmax=max(values))
        axis.set_title(f"restored: {kind}")
        axis.set_xlabel("layer")
        axis.set_xticks(range(len(rows)))
        axis.set_yticks(range(len(ROLES)), ROLES if kind == "state" else [""] * len(ROLES))
    figure.colorbar(image, ax=axes[:3], label="recovered P[o]")
    for name, curve in result.severed.items():
        (line,) = axes[3].plot(curve, marker="o", color=COLOURS[name], label=f"{name} severed")
        if bounds := result.intervals.get(name):
            low, high = zip(*bounds, strict=True)
            axes[3].fill_between(range(len(curve)), low, high, color=line.get_color(), alpha=0.15, lw=0)
    axes[3].set_title("state at the subject's last token")
    axes[3].set_xlabel("layer")
    axes[3].set_xticks(range(len(result.severed["nothing"])))
    axes[3].set_ylabel("recovered P[o]")
    axes[3].legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
