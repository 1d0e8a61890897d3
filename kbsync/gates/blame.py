"""Find the facts that made a gate fail, and decide whether a retry without them can succeed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from editing.evaluation.measures.gate import Gate
from editing.spec import BuildReport
from kbsync.gates.declared import DEFAULT_GATES
from kbsync.gates.verdict import GateVerdict, share

GATES = {gate.name: gate for gate in DEFAULT_GATES}


@dataclass(frozen=True, slots=True)
class Blame:
    """A fact whose own figures lowered a failed gate's measure, with a sentence for the log."""

    fact: str
    gate: str
    shortfall: float
    evidence: str


def blame(report: BuildReport, verdicts: Iterable[GateVerdict], new: set[str]) -> tuple[Blame, ...]:
    """The fewest, worst facts of `new` without which each failed gate's figures would reach its threshold.

    A fact's own figure is the share of the gate's questions about it that were answered as expected.  Only
    facts that this run adds can be blamed: those already in live passed their gates before.  Of two equally
    bad facts, the one whose δ does not state it even alone is blamed first.
    """
    facts = [fact for fact in report.facts if not fact.known and fact.id in new]
    blamed: dict[str, Blame] = {}
    for verdict in verdicts:
        gate = GATES.get(verdict.name)
        if verdict.passed or gate is None or gate.evidence is None:
            continue
        rest = [
            (share(fact.outcomes.get(gate.name, ())), fact.alone is not False, fact)
            for fact in facts
            if fact.id not in blamed
        ]
        rest.sort(
            key=lambda item: (item[0], item[1], share(item[2].outcomes.get("paraphrase", ())), item[2].id)
        )
        while rest and fmean(figure for figure, _, _ in rest) < verdict.threshold:
            figure, _, fact = rest.pop(0)
            blamed[fact.id] = Blame(fact.id, gate.name, verdict.threshold - figure, gate.evidence(fact))
    return tuple(sorted(blamed.values(), key=lambda b: (-b.shortfall, b.fact)))


def systematic(gates: Iterable[Gate], verdicts: Iterable[GateVerdict], blamed: int, new: int) -> str | None:
    """Why a retry with fewer facts would be pointless, or None if it may succeed; `gates`: those in force.

    A run stops at once if no fact can be blamed for a failed gate (perplexity, weight growth, canaries,
    retention), or if most of its new facts are bad.
    """
    known = {gate.name: gate for gate in gates}
    failed = [verdict.name for verdict in verdicts if not verdict.passed]
    whole = [name for name in failed if name not in known or not known[name].judges_facts]
    if whole and not blamed:
        advice = "".join(f"; {known[name].advice}" for name in whole if name in known and known[name].advice)
        return f"{', '.join(whole)} failed and no single fact is to blame{advice}"
    if not blamed:
        return f"{', '.join(failed)} failed and no new fact's own figures are below the threshold"
    if new >= 4 and blamed > 0.75 * new:
        return f"{blamed} of {new} new facts are bad: the fault is not in single facts"
    return None
