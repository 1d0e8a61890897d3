"""Gates: a metric, a threshold, a verdict.  Pure functions of what was measured.

A candidate goes live only if every gate passes.  A gate whose measure is missing, or not a
finite number, has failed.  A measure over *every* case is compared as it is; a measure over a
sample is compared by its confidence bound; where live's own figure on the same cases is known,
a gate may ask for no worse than live by more than a margin (non-inferiority).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Literal

from editing.spec import BuildReport, FactReport, Measure

Direction = Literal["at_least", "at_most"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on one measure; `margin` (if set) also forbids being worse than live by more."""

    name: str
    threshold: float
    direction: Direction
    explains: str
    confidence: float = 0.95
    margin: float | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """`bound` is what was compared with `threshold`: the value itself, or its confidence bound."""

    name: str
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    detail: str


DEFAULT_GATES: tuple[Gate, ...] = (
    Gate("efficacy", 0.95, "at_least", "edited facts that are the strict argmax on their own prompt"),
    Gate("paraphrase", 0.85, "at_least", "paraphrases of edited facts that are answered as the fact states"),
    Gate("neighbourhood", 0.90, "at_least", "subjects close to the edited ones that are answered as before"),
    Gate(
        "same_subject", 0.85, "at_least", "other relations of the edited subjects that are answered as before"
    ),
    Gate("retention", 0.90, "at_least", "facts already in live that are still said", margin=0.02),
    Gate("known_retention", 0.95, "at_least", "facts the base knows unedited that are still said"),
    Gate("generation", 0.80, "at_least", "edited facts whose object appears in freely generated text"),
    Gate("fluency", 0.90, "at_least", "n-gram entropy of generated text (GE), as a share of the base's"),
    Gate("perplexity_ratio", 1.05, "at_most", "perplexity of held-out text, candidate over base"),
    Gate("weight_growth", 2.00, "at_most", "largest growth of an edited matrix's Frobenius norm"),
    Gate("canaries", 1.00, "at_least", "the operator's own questions that are answered as required"),
)


def wilson_bound(k: int, n: int, confidence: float, direction: Direction) -> float:
    """One-sided Wilson score bound of a proportion: lower for `at_least`, upper for `at_most`.

    Wilson, JASA 22 (1927); unlike the normal approximation it stays in [0, 1] and behaves at k = 0 and k = n.
    """
    if n <= 0:
        raise ValueError("a bound needs at least one case")
    z = NormalDist().inv_cdf(confidence)
    p = k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half if direction == "at_least" else centre + half


def judge(gate: Gate, measure: Measure | None) -> GateVerdict:
    """The verdict of one gate on one measure."""

    def verdict(passed: bool, detail: str, bound: float | None = None) -> GateVerdict:
        return GateVerdict(gate.name, value, bound, gate.threshold, n, passed, detail)

    value, n = (measure.value, measure.n) if measure else (None, 0)
    if measure is None:
        return verdict(False, "not measured")
    if measure.exhaustive and measure.k is not None and n == 0:
        # All of no cases: there is nothing that could have gone wrong.
        value = 1.0 if gate.direction == "at_least" else 0.0
        return verdict(True, "no case applies", value)
    if value is None or not math.isfinite(value):
        return verdict(False, f"not a number: {value}")
    sampled = not measure.exhaustive
    if sampled and (measure.k is None or n == 0):
        return verdict(False, "a sampled measure without counts")
    bound = (
        wilson_bound(measure.k, n, gate.confidence, gate.direction)
        if sampled and measure.k is not None
        else value
    )
    within = bound >= gate.threshold if gate.direction == "at_least" else bound <= gate.threshold
    detail = f"{gate.confidence:.0%} bound of a sample of {n}" if sampled else f"all {n} cases" if n else ""
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
    """`judge`, where a measure that makes it crash (more hits than cases) is a gate that has failed."""
    try:
        return judge(gate, measure)
    except (ArithmeticError, TypeError, ValueError) as error:
        detail = f"crashed: {type(error).__name__}: {error}"
        return GateVerdict(gate.name, None, None, gate.threshold, measure.n if measure else 0, False, detail)


@dataclass(frozen=True, slots=True)
class Blame:
    """A fact whose own figures pulled a failed gate down, with the sentence that goes into the log."""

    fact: str
    gate: str
    shortfall: float
    evidence: str


def _share(hits: tuple[bool, ...]) -> float:
    return sum(hits) / len(hits) if hits else 1.0


def _efficacy(fact: FactReport) -> tuple[float, str]:
    company = {True: " (alone its δ states it: it fails in company)", False: " (not even alone)", None: ""}
    return float(
        fact.efficacy is not False
    ), f"answers {fact.answer!r} on its own prompt{company[fact.alone]}"


def _paraphrase(fact: FactReport) -> tuple[float, str]:
    hits = fact.paraphrases
    return _share(hits), f"stated on {sum(hits)} of {len(hits)} paraphrases"


def _neighbourhood(fact: FactReport) -> tuple[float, str]:
    hits = fact.neighbours
    return _share(hits), f"{len(hits) - sum(hits)} of {len(hits)} neighbours changed their answer"


def _same_subject(fact: FactReport) -> tuple[float, str]:
    hits = fact.same_subject
    return _share(hits), f"{len(hits) - sum(hits)} of {len(hits)} other relations of the subject changed"


def _generation(fact: FactReport) -> tuple[float, str]:
    return float(fact.generated is not False), "its object does not appear in generated text"


OWN_FIGURE = {
    "efficacy": _efficacy,
    "paraphrase": _paraphrase,
    "neighbourhood": _neighbourhood,
    "same_subject": _same_subject,
    "generation": _generation,
}
"""Gates whose failure can be traced to single facts; the others judge the candidate as a whole."""


def blame(report: BuildReport, verdicts: Iterable[GateVerdict], new: set[str]) -> tuple[Blame, ...]:
    """The fewest worst facts of `new` without which each failed gate's own figures would reach its threshold.

    Only what this run adds can be blamed: a fact that was already live passed its gates before.  Of two
    facts that are equally bad, the one whose δ does not state it even alone goes first.
    """
    facts = [fact for fact in report.facts if not fact.known and fact.id in new]
    blamed: dict[str, Blame] = {}
    for verdict in verdicts:
        own = OWN_FIGURE.get(verdict.name)
        if verdict.passed or own is None:
            continue
        rest = [(own(fact)[0], fact.alone is not False, fact) for fact in facts if fact.id not in blamed]
        rest.sort(key=lambda item: (item[0], item[1], _share(item[2].paraphrases), item[2].id))
        while rest and fmean(figure for figure, _, _ in rest) < verdict.threshold:
            figure, _, fact = rest.pop(0)
            blamed[fact.id] = Blame(fact.id, verdict.name, verdict.threshold - figure, own(fact)[1])
    return tuple(sorted(blamed.values(), key=lambda b: (-b.shortfall, b.fact)))


ADVICE = {
    "weight_growth": "all edits together change a matrix much, which small models reach soon: where the other gates "
    "pass, raise `threshold` in [gates.weight_growth], else lower `capacity` in [plan] or raise `lam` in [edit]",
    "perplexity_ratio": "lower `capacity` in [plan], raise `lam` or `ridge` in [edit], or give the statistics text",
    "fluency": "lower `capacity` in [plan], or raise `lam` in [edit]",
}
"""What to do where a gate fails that judges the candidate as a whole."""


def systematic(report: BuildReport, verdicts: Iterable[GateVerdict], blamed: int, new: int) -> str | None:
    """Why trying again with fewer facts would be pointless, or None if it is worth trying.

    A failed gate that no fact can be blamed for (perplexity, weight growth, canaries, retention)
    stops at once, and so does a run where most of what is new is bad.
    """
    failed = [verdict.name for verdict in verdicts if not verdict.passed]
    whole = [name for name in failed if name not in OWN_FIGURE]
    if whole and not blamed:
        advice = "".join(f"; {ADVICE[name]}" for name in whole if name in ADVICE)
        return f"{', '.join(whole)} failed and no single fact is to blame{advice}"
    if not blamed:
        return f"{', '.join(failed)} failed and no new fact's own figures are below the threshold"
    if new >= 4 and blamed > 0.75 * new:
        return f"{blamed} of {new} new facts are bad: the fault is not in single facts"
    return None
