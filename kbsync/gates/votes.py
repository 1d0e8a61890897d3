"""Counting a judge model's votes on free answers that the rules on names leave undecided.

Such an answer counts as not right.  A vote can make it right, so a judge only ever raises a figure; it is never the
only evidence.  The votes on a measure count if all of this holds, and otherwise none of them does:

* the judge gave the expected verdict on its controls (`JudgeRecord.votes`);
* it settles no more than a share of the measure's answers;
* the answers that the rules decide pass the gate by themselves;
* if the gate compares with live, live's undecided answers are settled as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from editing.evaluation.measures.gate import Gate
from editing.spec import BuildReport, FactReport, Measure
from editing.undecided import RuledAnswer
from kbsync.gates.judge_record import AnswerPlace, Side
from kbsync.gates.verdicts import judge

Votes = Mapping[AnswerPlace, bool]
_COUNTS = "its votes count"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counted:
    """A report in which the votes count that may, and a sentence about each measure with undecided answers."""

    report: BuildReport
    notes: Mapping[str, str]
    """By measure."""


def with_votes(report: BuildReport, gates: Iterable[Gate], votes: Votes, share: float) -> Counted:
    """`report` with the votes that count; `share`: the largest part of a measure's answers that votes may settle."""
    declared = {gate.name: gate for gate in gates if gate.enabled}
    measures, notes, counted = [], {}, set()
    for measure in report.measures:
        gate = declared.get(measure.name)
        facts = [fact for fact in report.facts if measure.name in fact.outcomes]
        left = _undecided(facts, measure.name, "candidate")
        if gate is None or not (left or _of_live(gate, facts)):
            measures.append(measure)
            continue
        settled = [votes[place] for place in left if place in votes]
        note = (
            f"names leave {len(left)} of {measure.n} answers undecided, of which the judge finds {sum(settled)} "
            f"right and {len(settled) - sum(settled)} wrong"
        )
        why_not = _why_not(gate, measure, facts, votes, share)
        if left:
            notes[measure.name] = f"{note}; {why_not or _COUNTS}" if settled else note
        if not why_not and (settled or not left):
            counted.add(measure.name)
            measure = _raised(measure, facts, votes)
        measures.append(measure)
    reports = (_fact_with(fact, votes, counted) if counted else fact for fact in report.facts)
    return Counted(replace(report, measures=tuple(measures), facts=tuple(reports)), notes)


def _why_not(gate: Gate, measure: Measure, facts: Sequence[FactReport], votes: Votes, share: float) -> str:
    """Why the votes on the measure do not count; empty if they do."""
    left = _undecided(facts, measure.name, "candidate")
    settled = sum(place in votes for place in left)
    if settled > share * measure.n:
        return f"more than {share:.0%}, so its votes do not count"
    if len(left) == measure.n:
        return "the names decide none, so its votes do not count"
    if not judge(replace(gate, margin=None), _decided(measure, facts, left)).passed:
        return "the others do not pass without it, so its votes do not count"
    if any(place not in votes for place in _of_live(gate, facts)):
        return "live's are not all settled, so its votes do not count"
    return ""


def _undecided(facts: Sequence[FactReport], measure: str, side: Side) -> list[AnswerPlace]:
    """The places of the answers that the rules leave undecided."""
    return [
        AnswerPlace(fact.id, measure, one.place, side)
        for fact in facts
        for one in fact.undecided
        if one.measure == measure and _of(one.candidate if side == "candidate" else one.live) == "undecided"
    ]


def _of_live(gate: Gate, facts: Sequence[FactReport]) -> list[AnswerPlace]:
    """The places of live's undecided answers, if the gate compares with live."""
    return [] if gate.margin is None else _undecided(facts, gate.name, "live")


def _of(answer: RuledAnswer | None) -> str:
    return "" if answer is None else answer.verdict


def _decided(measure: Measure, facts: Sequence[FactReport], left: Sequence[AnswerPlace]) -> Measure:
    """The measure on the answers that the rules decide."""
    fewer = {fact.id: sum(place.fact == fact.id for place in left) for fact in facts}
    n, k = measure.n - len(left), measure.k or 0
    by_fact = tuple((hits, asked - fewer[fact.id]) for fact, (hits, asked) in _beside(facts, measure.by_fact))
    return replace(measure, n=n, value=k / n, by_fact=by_fact, pairs=())


def _raised(measure: Measure, facts: Sequence[FactReport], votes: Votes) -> Measure:
    """The measure in which every vote counts that finds an answer right."""
    own = {fact.id: _found_right(fact, measure.name, "candidate", votes) for fact in facts}
    before = {fact.id: _found_right(fact, measure.name, "live", votes) for fact in facts}
    k, n = (measure.k or 0) + sum(map(len, own.values())), measure.n
    raised = replace(measure, k=k, value=k / n)
    if measure.live_k is not None:
        live = measure.live_k + sum(map(len, before.values()))
        raised = replace(raised, live_k=live, live=live / n)
    return replace(
        raised,
        by_fact=tuple(
            (hits + len(own[fact.id]), asked) for fact, (hits, asked) in _beside(facts, measure.by_fact)
        ),
        pairs=tuple(
            _pair(pair, fact, measure.name, (own[fact.id], before[fact.id]))
            for fact, pair in _beside(facts, measure.pairs)
        ),
    )


def _beside(facts: Sequence[FactReport], values: Sequence[T]) -> Iterator[tuple[FactReport, T]]:
    """Each fact with its value; nothing if the measure is not of a sample, and so has no values by fact."""
    return zip(facts, values, strict=True) if values else iter(())


def _found_right(fact: FactReport, measure: str, side: Side, votes: Votes) -> frozenset[int]:
    """The places of the fact's answers that a vote finds right."""
    return frozenset(
        one.place
        for one in fact.undecided
        if one.measure == measure and votes.get(AnswerPlace(fact.id, measure, one.place, side), False)
    )


def _pair(
    pair: tuple[int, int, int],
    fact: FactReport,
    measure: str,
    right: tuple[frozenset[int], frozenset[int]],
) -> tuple[int, int, int]:
    """`pair` with the answers of candidate and live that votes find right."""
    asked, gained, lost = pair
    own, before = right
    for one in (one for one in fact.undecided if one.measure == measure and one.live is not None):
        was, was_live = _of(one.candidate) == "right", _of(one.live) == "right"
        now, now_live = was or one.place in own, was_live or one.place in before
        gained += (now and not now_live) - (was and not was_live)
        lost += (now_live and not now) - (was_live and not was)
    return asked, gained, lost


def _fact_with(fact: FactReport, votes: Votes, measures: set[str]) -> FactReport:
    outcomes = {
        name: tuple(
            hit or place in right
            for right in [_found_right(fact, name, "candidate", votes)]
            for place, hit in enumerate(hits)
        )
        if name in measures
        else hits
        for name, hits in fact.outcomes.items()
    }
    return replace(fact, outcomes=outcomes)
