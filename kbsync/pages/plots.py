"""Plots as inline SVG: pure functions from numbers to markup, coloured by the style sheet."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

WIDTH, HEIGHT = 260.0, 84.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 8.0, 18.0
"""Room for the labels of the axes, and for half a point."""


def history_plot(
    values: Sequence[tuple[int, float, bool]], threshold: float, direction: str, label: str
) -> Markup:
    """A gate's values run by run, as (run, value, passed), against its threshold; the last run is looked at.

    The area in which the gate fails is shaded, and values that failed have another shape, so that a glance needs
    neither numbers nor colours.  `label` is the text for screen readers.
    """
    if not values:
        return Markup("")
    numbers = [value for _, value, _ in values]
    low, high = min(*numbers, threshold), max(*numbers, threshold)
    room = (high - low) * 0.15 or max(abs(threshold), 1.0) * 0.05
    low, high = low - room, high + room

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def x(number: int) -> float:
        share = number / (len(values) - 1) if len(values) > 1 else 1.0
        return LEFT + 4 + share * (WIDTH - LEFT - RIGHT - 4)

    points = [(x(number), y(value)) for number, value in enumerate(numbers)]
    limit = y(threshold)
    top, bottom = (limit, HEIGHT - BOTTOM) if direction == "at_least" else (TOP, limit)
    return Markup(
        '<svg class="plot" viewBox="0 0 {w:g} {h:g}" role="img" aria-label="{label}">'
        '<rect class="fails" x="{left:g}" y="{top:.1f}" width="{width:g}" height="{height:.1f}"></rect>'
        '<line class="limit" x1="{left:g}" x2="{right:g}" y1="{limit:.1f}" y2="{limit:.1f}"></line>'
        '<polyline points="{line}"></polyline>{marks}'
        '<text class="y" x="{text:g}" y="{limit_text:.1f}">{threshold:.3g}</text>{span}</svg>'
    ).format(
        w=WIDTH,
        h=HEIGHT,
        label=label,
        left=LEFT,
        right=WIDTH - RIGHT + 4,
        width=WIDTH - LEFT - RIGHT + 4,
        top=top,
        height=max(0.0, bottom - top),
        limit=limit,
        limit_text=limit + 4,
        text=LEFT - 5,
        threshold=threshold,
        line=" ".join(f"{across:.1f},{down:.1f}" for across, down in points),
        marks=_marks(values, points),
        span=_span(values, points),
    )


def _marks(values: Sequence[tuple[int, float, bool]], points: Sequence[tuple[float, float]]) -> Markup:
    """A circle for each value that passes, a diamond for one that does not; the last one is larger."""
    marks = Markup("")
    for (run, value, passed), (x, y) in zip(values, points, strict=True):
        r = 4.5 if (x, y) == points[-1] else 3.0
        title = Markup("<title>run {}: {:.3f}{}</title>").format(run, value, "" if passed else ", failed")
        marks += (
            Markup(
                '<path class="failed" d="M{x:.1f} {t:.1f}l{r:g} {r:g}l-{r:g} {r:g}l-{r:g} -{r:g}z">{title}</path>'
            )
            if not passed
            else Markup('<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:g}">{title}</circle>')
        ).format(x=x, y=y, t=y - r, r=r, title=title)
    return marks


def _span(values: Sequence[tuple[int, float, bool]], points: Sequence[tuple[float, float]]) -> Markup:
    """The numbers of the first and the last run below the plot."""
    text = Markup('<text class="x {}" x="{:.1f}" y="{:g}">run {}</text>')
    last = text.format("end", points[-1][0] + 4, HEIGHT - 4, values[-1][0])
    return last if len(values) < 3 else text.format("", points[0][0] - 4, HEIGHT - 4, values[0][0]) + last
