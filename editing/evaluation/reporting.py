"""Building a report from answers: the figures for the gates, and the outcome of every fact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from editing.evaluation.evidence import Evidence
from editing.evaluation.figures import counted, finite
from editing.evaluation.measures.declaration import CandidateMeasure, FactMeasure, populations
from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.probe_reports import probe_reports
from editing.evaluation.question_set import FactQuestions
from editing.evaluation.responses import Responses
from editing.requests import render
from editing.spec import FactReport, FactSpec, Measure
from editing.undecided import UndecidedAnswer

RARELY = 0.1
"""A free answer is never right by chance, but a base with no more right ones than this cannot be expected to infer."""


def measured(evidence: Evidence) -> tuple[Measure, ...]:
    """Every declared measure, including those without cases; measures that are unavailable here are absent."""
    figures = [_candidate_figure(measure, evidence) for measure in CANDIDATE_MEASURES]
    return (
        *(_share_of_facts(measure, evidence) for measure in FACT_MEASURES),
        *(figure for figure in figures if figure is not None),
    )


def _share_of_facts(measure: FactMeasure, evidence: Evidence) -> Measure:
    named = [(fact.id, populations(fact, known=evidence.known[fact.id].known)) for fact in evidence.facts]
    population = [id for id, names in named if measure.of in names]
    judged_for = sum("old" in names for _, names in named) if measure.of == "examined" else len(population)
    asked = [questions for id in population if (questions := _asked(measure, evidence, id)) is not None]
    own = [answered_as_expected(measure, questions, evidence.candidate) for questions in asked]
    live = None
    if evidence.live is not None:
        live = [answered_as_expected(measure, questions, evidence.live) for questions in asked]
    exhaustive = len(asked) == judged_for
    share = counted(
        measure.name, _joined(own), None if live is None else _joined(live), exhaustive=exhaustive
    )
    if measure.of_base:
        unedited = _joined([answered_as_expected(measure, questions, evidence.base) for questions in asked])
        share = _beside_base(replace(share, base=_share(unedited)), measure, evidence)
    if measure.chance is not None:
        share = _with_ability(share, measure, evidence)
    if exhaustive:
        return share
    pairs = () if live is None else tuple(map(_pair, own, live))
    return replace(share, by_fact=tuple((sum(hits), len(hits)) for hits in own), pairs=pairs)


def _joined(hits: Sequence[Sequence[bool]]) -> list[bool]:
    return [hit for of_fact in hits for hit in of_fact]


def _pair(own: Sequence[bool], live: Sequence[bool]) -> tuple[int, int, int]:
    """Questions about one fact, those that only the candidate answered as expected, and those that only live did."""
    gained = sum(hit and not before for hit, before in zip(own, live, strict=True))
    lost = sum(before and not hit for hit, before in zip(own, live, strict=True))
    return len(own), gained, lost


def _beside_base(share: Measure, measure: FactMeasure, evidence: Evidence) -> Measure:
    """`share` with what the base answers freely about facts that it states itself."""
    asked = [one for one in evidence.asked.unaided.values() if measure.name in one.by_measure()]
    hits = [answered_as_expected(measure, questions, evidence.base) for questions in asked]
    total = sum(map(sum, hits)), sum(map(len, hits))
    return replace(share, chance=RARELY, ability=total, ability_by_fact=_by_fact(hits))


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _with_ability(share: Measure, measure: FactMeasure, evidence: Evidence) -> Measure:
    """`share` with the base's answers to the same questions about facts that it states unedited."""
    asked = [one for one in evidence.asked.ability.values() if measure.name in one.by_measure()]
    hits = [answered_as_expected(measure, questions, evidence.base) for questions in asked]
    total = sum(map(sum, hits)), sum(map(len, hits))
    return replace(share, chance=measure.chance, ability=total, ability_by_fact=_by_fact(hits))


def _by_fact(hits: Sequence[Sequence[bool]]) -> tuple[tuple[int, int], ...]:
    """(answered as expected, asked) of each fact that was asked anything."""
    return tuple((sum(some), len(some)) for some in hits if some)


def _asked(measure: FactMeasure, evidence: Evidence, fact: str) -> FactQuestions | None:
    """The fact's questions, if it was asked those of this measure."""
    questions = evidence.asked.facts.get(fact)
    return questions if questions is not None and measure.name in questions.by_measure() else None


def answered_as_expected(
    measure: FactMeasure, questions: FactQuestions, responses: Responses
) -> tuple[bool, ...]:
    """For each question of `measure` about one fact, whether it was answered as expected."""
    if measure.answered == "free":
        return tuple(responses.says(question) for question in questions.free[measure.name])
    if measure.answered == "sampled":
        return tuple(responses.mentions(case) for case in questions.sampled[measure.name])
    if measure.answered == "chosen":
        return tuple(responses.prefers(choice) for choice in questions.chosen[measure.name])
    if measure.expects == "avoided":
        return tuple(not responses.states(question) for question in questions.avoided[measure.name])
    return tuple(responses.states(question) for question in questions.scored[measure.name])


def _candidate_figure(measure: CandidateMeasure, evidence: Evidence) -> Measure | None:
    if measure.figure is not None:
        return measure.figure(evidence)
    asked = evidence.asked.candidate.get(measure.name, ())
    live = None if evidence.live is None else [evidence.live.states(question) for question in asked]
    return counted(measure.name, [evidence.candidate.states(question) for question in asked], live)


def fact_reports(evidence: Evidence) -> tuple[FactReport, ...]:
    """One report per fact, in the view's order."""
    return tuple(_fact_report(fact, evidence) for fact in evidence.facts)


def _fact_report(fact: FactSpec, evidence: Evidence) -> FactReport:
    base = evidence.known[fact.id]
    questions = evidence.asked.facts.get(fact.id)
    group, asked = evidence.groups.get(fact.id, ""), render(fact.prompt, fact.subject)
    if questions is None:
        return FactReport(
            fact.id, base.known, base.answer, "", None, group=group, asked=asked, derived=fact.derived
        )
    own, old, candidate, live = questions.own, questions.old, evidence.candidate, evidence.live
    return FactReport(
        id=fact.id,
        known=base.known,
        base_answer=base.answer,
        answer=candidate.text(evidence.tokenizer, own, fact.target),
        efficacy=candidate.states(own),
        alone=evidence.alone.get(fact.id),
        outcomes={
            measure.name: answered_as_expected(measure, questions, candidate)
            for measure in FACT_MEASURES
            if _asked(measure, evidence, fact.id) is not None
        },
        live_answer=live.text(evidence.tokenizer, own, fact.target) if live else None,
        p_new=finite(candidate.scores[own].probability),
        p_old=finite(candidate.scores[old].probability) if old else None,
        group=group,
        asked=asked,
        probes=probe_reports(questions, evidence, always=fact.id in evidence.described),
        derived=fact.derived,
        undecided=tuple(_undecided(questions, evidence)),
    )


def _undecided(questions: FactQuestions, evidence: Evidence) -> Iterator[UndecidedAnswer]:
    """The free answers about a fact that the rules on names leave undecided."""

    for measure, free in questions.free.items():
        for place, question in enumerate(free):
            own = evidence.candidate.ruled(question)
            live = None if evidence.live is None else evidence.live.ruled(question)
            if "undecided" in (own.verdict, live and live.verdict):
                names = question.names, question.old_names
                yield UndecidedAnswer(measure, place, question.prompt, question.subject, *names, own, live)
