"""Turn measures into verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from editing.evaluation.measures.gate import Gate
from editing.spec import Measure
from kbsync.gates.bounds import paired_bound, sample_bound
from kbsync.gates.earlier import sample_bound_1
from kbsync.gates.verdict import GateVerdict

RULE = 2
"""How samples are compared, recorded with every verdict so that it can be made again:

    1  bound of a sample by Korn and Graubard; with live, the values are compared
    2  bound of a sample by Wilson at its effective size; with live, the bound of the difference by fact
"""


def judge(gate: Gate, measure: Measure | None, *, rule: int = RULE) -> GateVerdict:
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
    if flaw := not_judgeable(measure, gate.confidence):
        return verdict(not gate.required, f"not judgeable on this base: {flaw}")
    sampled = not measure.exhaustive
    if sampled and (measure.k is None or n == 0):
        return verdict(False, "a sampled measure without counts")
    bound, detail = _compared(gate, measure, rule)
    within = bound >= gate.threshold if gate.direction == "at_least" else bound <= gate.threshold
    if gate.margin is None or measure.live is None:
        return verdict(within, detail, bound)
    no_worse, against = _no_worse(gate, gate.margin, measure, rule)
    return verdict(within and no_worse, f"{detail}; {against}", bound)


def _compared(gate: Gate, measure: Measure, rule: int) -> tuple[float, str]:
    """The figure that is compared with the threshold, and how it came about."""
    value, n = measure.value, measure.n
    assert value is not None
    if gate.compared is not None:
        bound = gate.compared(value, n)
        return bound, f"{value:.3f} with {n} edits is {bound:.3f} an edit" if n else ""
    if measure.exhaustive or measure.k is None:
        return value, f"all {n} cases" if n else ""
    of_sample = sample_bound_1 if rule == 1 else sample_bound
    bound = of_sample(measure.k, n, measure.by_fact, gate.confidence, gate.direction)
    return bound, f"{gate.confidence:.0%} bound of a sample of {n}"


def _no_worse(gate: Gate, margin: float, measure: Measure, rule: int) -> tuple[bool, str]:
    """Whether the candidate is not worse than live by more than `margin`, and the sentence about it.

    On a sample, the difference of the answers to the same questions is compared by its bound.
    """
    value, live = measure.value, measure.live
    assert value is not None
    assert live is not None
    if measure.pairs and rule > 1:
        difference = paired_bound(measure.pairs, gate.confidence, gate.direction)
        passed = difference >= -margin if gate.direction == "at_least" else difference <= margin
        of = f", {gate.confidence:.0%} bound of the difference {difference:+.3f}"
    else:
        passed = value >= live - margin if gate.direction == "at_least" else value <= live + margin
        of = ""
    detail = f"live {live:.3f}{of}, margin {margin:g}"
    return passed, detail if passed else f"{detail}: worse than live"


def not_judgeable(measure: Measure, confidence: float) -> str:
    """Why the base's own answers show that this figure means nothing; empty if it can be judged.

    The base is asked the same about facts that it states unedited.  It must be better than chance at `confidence`.
    """
    if measure.chance is None:
        return ""
    k, n = (
        sum(hits for hits, _ in measure.ability_by_fact),
        sum(asked for _, asked in measure.ability_by_fact),
    )
    if n == 0:
        return "it states none of the facts that could be asked about"
    if sample_bound(k, n, measure.ability_by_fact, confidence, "at_least") > measure.chance:
        return ""
    return (
        f"of facts that it states, it answers {k} of {n} such questions, and {measure.chance:.0%} is chance"
    )


def judge_all(
    gates: Iterable[Gate], measures: Iterable[Measure], *, rule: int = RULE
) -> tuple[GateVerdict, ...]:
    """One verdict for every enabled gate, in the gates' order."""
    by_name: Mapping[str, Measure] = {measure.name: measure for measure in measures}
    return tuple(_judged(gate, by_name.get(gate.name), rule) for gate in gates if gate.enabled)


def _judged(gate: Gate, measure: Measure | None, rule: int) -> GateVerdict:
    """`judge`, but a measure that makes it raise (such as more hits than cases) fails the gate."""
    try:
        return judge(gate, measure, rule=rule)
    except (ArithmeticError, TypeError, ValueError) as error:
        detail = f"crashed: {type(error).__name__}: {error}"
        return GateVerdict(gate.name, None, None, gate.threshold, measure.n if measure else 0, False, detail)
