"""Plots as inline SVG: pure functions from numbers to markup, coloured by the style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT, MARGIN = 220.0, 44.0, 5.0


def history_plot(values: Sequence[tuple[int, float]], threshold: float, direction: str, label: str) -> Markup:
    """A gate's values run by run against its threshold; the last one is the run that is looked at.

    The area in which the gate fails is shaded, so that a glance needs no numbers.  `label` is the text for screen
    readers.
    """
    if not values:
        return Markup("")
    numbers = [value for _, value in values]
    low, high = min(*numbers, threshold), max(*numbers, threshold)
    room = (high - low) * 0.15 or max(abs(threshold), 1.0) * 0.05
    low, high = low - room, high + room

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (value - low) / (high - low) * (HEIGHT - 2 * MARGIN)

    def x(number: int) -> float:
        return MARGIN + number / max(1, len(values) - 1) * (WIDTH - 2 * MARGIN)

    points = [(x(number), y(value)) for number, value in enumerate(numbers)]
    if len(points) == 1:
        points = [(WIDTH - MARGIN, points[0][1])]
    line = " ".join(f"{across:.1f},{down:.1f}" for across, down in points)
    limit = y(threshold)
    top, height = (limit, HEIGHT - limit) if direction == "at_least" else (0.0, limit)
    last = points[-1]
    return Markup(
        '<svg class="plot" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{label}">'
        '<rect class="fails" x="0" y="{top:.1f}" width="{w:g}" height="{height:.1f}"></rect>'
        '<line class="limit" x1="0" x2="{w:g}" y1="{limit:.1f}" y2="{limit:.1f}"></line>'
        '<polyline points="{line}"></polyline>'
        '<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3"></circle></svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=label,
        top=top,
        height=max(0.0, height),
        limit=limit,
        line=line,
        cx=last[0],
        cy=last[1],
    )
