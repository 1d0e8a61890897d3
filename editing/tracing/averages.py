"""The effects of all interventions, fact by fact, and their means over facts with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from editing.evaluation.bootstrap import Interval, means, middle, table_of, weights
from editing.tracing.interventions import ROLES, Interventions, KnownFact, StateKind

T = TypeVar("T")
Row = list[float | None]
Intervals = list[Interval]
KINDS: tuple[StateKind, ...] = ("state", "mlp", "attention")
SEVERED: Mapping[str, StateKind | None] = {"nothing": None, "mlp": "mlp", "attention": "attention"}


@dataclass(frozen=True, slots=True)
class Averages:
    """Means over facts, and their intervals; None where no fact has a value."""

    means: list[float | None]
    intervals: list[Interval | None]

    def known_intervals(self) -> Intervals:
        """The intervals of what every fact has a value for."""
        return [interval for interval in self.intervals if interval is not None]


@dataclass
class TracedFacts:
    """Each row belongs to one fact."""

    depth: int
    clean: list[float] = field(default_factory=list)
    corrupted: list[float] = field(default_factory=list)
    effects: dict[str, list[Row]] = field(default_factory=dict)
    """Kind → rows of layer · role: P[o] recovered by restoring there, a mean over the tokens of that role."""
    severed: dict[str, list[Row]] = field(default_factory=dict)
    """What is severed → rows by layer."""

    def add(self, fact: KnownFact, run: Interventions) -> None:
        """Carry out all interventions on one fact."""
        self.clean.append(run.clean)
        self.corrupted.append(run.corrupted)
        for kind in KINDS:
            found = run.effects(kind)
            self.effects.setdefault(kind, []).append(
                [
                    sum(found[layer, token] for token in tokens) / len(tokens) if tokens else None
                    for layer in range(self.depth)
                    for tokens in fact.roles().values()
                ]
            )
        for name, what in SEVERED.items():
            self.severed.setdefault(name, []).append([*run.severed(what)])

    def costs(self) -> list[Row]:
        """By fact and layer, how much severing the MLPs reduces the restored effect."""
        pairs = zip(self.severed["nothing"], self.severed["mlp"], strict=True)
        return [[(a or 0.0) - (b or 0.0) for a, b in zip(*pair, strict=True)] for pair in pairs]

    def averaged(self, rows: Sequence[Row]) -> Averages:
        """The means of the rows' columns, over the facts that have them."""
        found = means(table_of(rows, len(rows[0])), weights(len(rows), 0))
        intervals = [middle(column) for column in found.T]
        values = [float(value) for value in found[0]]
        return Averages(
            [v if i is not None else None for v, i in zip(values, intervals, strict=True)], intervals
        )


def by_role(values: Sequence[T]) -> list[list[T]]:
    """Values of layer · role as one list for each layer."""
    return [list(values[start : start + len(ROLES)]) for start in range(0, len(values), len(ROLES))]
