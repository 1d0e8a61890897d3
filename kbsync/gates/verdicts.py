"""Turn measures into verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from editing.spec import Measure
from kbsync.gates.bounds import sample_bound
from kbsync.gates.declaration import Gate, GateVerdict


def judge(gate: Gate, measure: Measure | None) -> GateVerdict:
    """The verdict of one gate on one measure."""

    def verdict(passed: bool, detail: str, bound: float | None = None) -> GateVerdict:
        return GateVerdict(gate.name, value, bound, gate.threshold, n, passed, detail)

    value, n = (measure.value, measure.n) if measure else (None, 0)
    if measure is None:
        return verdict(False, "not measured")
    if measure.k is not None and n == 0:
        if gate.required:
            return verdict(False, "no case applies, and the gate is required")
        # Nothing could fail: the ledger gets a figure, but no bound, because nothing was compared.
        value = 1.0 if gate.direction == "at_least" else 0.0
        return verdict(True, "not judged: no case applies")
    if value is None or not math.isfinite(value):
        return verdict(False, f"not a number: {value}")
    sampled = not measure.exhaustive
    if sampled and (measure.k is None or n == 0):
        return verdict(False, "a sampled measure without counts")
    bound = (
        sample_bound(measure.k, n, measure.by_fact, gate.confidence, gate.direction)
        if sampled and measure.k is not None
        else value
    )
    if gate.compared is not None:
        bound = gate.compared(value, n)
    within = bound >= gate.threshold if gate.direction == "at_least" else bound <= gate.threshold
    detail = f"{gate.confidence:.0%} bound of a sample of {n}" if sampled else f"all {n} cases" if n else ""
    if gate.compared is not None and n:
        detail = f"{value:.3f} with {n} edits is {bound:.3f} an edit"
    if gate.margin is None or measure.live is None:
        return verdict(within, detail, bound)
    no_worse = (
        value >= measure.live - gate.margin
        if gate.direction == "at_least"
        else value <= measure.live + gate.margin
    )
    detail += f"; live {measure.live:.3f}, margin {gate.margin:g}"
    return verdict(within and no_worse, detail if no_worse else f"{detail}: worse than live", bound)


def judge_all(gates: Iterable[Gate], measures: Iterable[Measure]) -> tuple[GateVerdict, ...]:
    """One verdict for every enabled gate, in the gates' order."""
    by_name: Mapping[str, Measure] = {measure.name: measure for measure in measures}
    return tuple(_judged(gate, by_name.get(gate.name)) for gate in gates if gate.enabled)


def _judged(gate: Gate, measure: Measure | None) -> GateVerdict:
    """`judge`, but a measure that makes it raise (such as more hits than cases) fails the gate."""
    try:
        return judge(gate, measure)
    except (ArithmeticError, TypeError, ValueError) as error:
        detail = f"crashed: {type(error).__name__}: {error}"
        return GateVerdict(gate.name, None, None, gate.threshold, measure.n if measure else 0, False, detail)
