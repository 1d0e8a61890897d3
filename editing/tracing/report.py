"""The result of causal tracing as tables, as JSON, and as the paper's figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from editing.evaluation.bootstrap import Interval
from editing.tracing.interventions import ROLES
from editing.tracing.trace import TraceResult

LAST_SUBJECT, LAST = ROLES.index("last subject token"), ROLES.index("last token")


def as_json(result: TraceResult) -> dict[str, Any]:
    """All measurements, with the cost of severing and the suggested layers."""
    return {
        "roles": ROLES,
        **asdict(result),
        "cost_of_severing": result.cost_of_severing(),
        "suggested_layers": {str(count): result.suggested_layers(count) for count in (1, 2, 3, 5)},
    }


def write(result: TraceResult, directory: Path, name: str = "tracing") -> dict[str, Any]:
    """Write `name`.json and `name`.md into `directory`, which is created; returns what the JSON holds."""
    directory.mkdir(parents=True, exist_ok=True)
    written = as_json(result)
    (directory / f"{name}.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    page = f"# Where facts are read\n\n{markdown(result)}"
    (directory / f"{name}.md").write_text(page, encoding="utf-8")
    return written


def shown(value: float | None, interval: Interval | None) -> str:
    """A mean with its interval; empty if there is none."""
    if value is None:
        return ""
    return f"{value:.3f}" if interval is None else f"{value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"


SEVERED_COLUMNS = (
    "layer",
    "nothing severed",
    "MLPs severed",
    "attention severed",
    "cost of severing the MLPs",
)


def severed_rows(result: TraceResult) -> list[tuple[str, ...]]:
    """By layer, the effect of one restored state at the subject's last token, and what severing the MLPs costs."""
    curves = [(result.severed[name], result.intervals.get(name, ())) for name in result.severed]
    curves.append((result.cost_of_severing(), result.cost_intervals))
    depth = len(result.severed["nothing"])
    return [
        (str(layer), *(shown(curve[layer], bounds[layer] if bounds else None) for curve, bounds in curves))
        for layer in range(depth)
    ]


def effect_rows(result: TraceResult, kind: str) -> list[tuple[str, ...]]:
    """By layer, what restoring that kind of output recovers at the tokens of each role."""
    rows, bounds = result.effects[kind], result.effect_intervals.get(kind, ())
    return [
        (
            str(layer),
            *(shown(value, bounds[layer][n] if bounds else None) for n, value in enumerate(row)),
        )
        for layer, row in enumerate(rows)
    ]


def peak(result: TraceResult, kind: str) -> str:
    """Where restoring that kind recovers most before the last token, in a sentence."""
    cells = [
        (value, layer, role)
        for layer, row in enumerate(result.effects[kind])
        for role, value in enumerate(row)
        if value is not None and role != LAST
    ]
    value, layer, role = max(cells)
    bounds = result.effect_intervals.get(kind)
    figure = shown(value, bounds[layer][role] if bounds else None)
    return f"Restored {kind} recovers most at the {ROLES[role]}, layer {layer}: {figure}."


def markdown(result: TraceResult) -> str:
    """All figures with their 95 % intervals, as a page."""
    parts = [
        f"{result.facts} facts, P[o] clean {result.clean:.3f}, corrupted {result.corrupted:.3f}. Brackets are 95 % "
        "intervals (bootstrap over facts).",
        "## One restored state at the subject's last token (Figure 3)",
        _markdown_table(SEVERED_COLUMNS, severed_rows(result)),
        f"R, of two layers at most: {list(result.suggested_layers(2))}; of five: {list(result.suggested_layers(5))}.",
    ]
    for kind in result.effects:
        parts += [f"## Restored: {kind}", peak(result, kind)]
        parts.append(_markdown_table(("layer", *ROLES), effect_rows(result, kind)))
    return "\n\n".join(parts) + "\n"


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = [columns, ["---"] * len(columns)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *rows])
