"""What was measured for gates that are off, beside what the base can answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from editing.spec import Measure
from kbsync.gates import Gate
from kbsync.gates.verdicts import not_judgeable


@dataclass(frozen=True, slots=True)
class Unjudged:
    """One measure whose gate is off."""

    name: str
    explains: str
    condition: str
    """When the gate would pass."""
    value: float
    live: float | None
    base: float | None
    """The same figure for the base; None: it was not asked."""
    n: int
    ability: tuple[int, int] | None
    """(answered as expected, asked) of the base, in such questions about facts that it states."""
    flaw: str
    """Why the figure means nothing on this base; empty if it could be judged."""


def unjudged(gates: Iterable[Gate], measures: Iterable[Measure]) -> tuple[Unjudged, ...]:
    """The measures of gates that are off, as far as there was anything to measure."""
    off = {gate.name: gate for gate in gates if not gate.enabled}
    return tuple(
        Unjudged(
            one.name,
            gate.explains,
            gate.condition,
            one.value,
            one.live,
            one.base,
            one.n,
            one.ability,
            not_judgeable(one, gate.confidence),
        )
        for one in measures
        if (gate := off.get(one.name)) is not None and one.value is not None
    )
