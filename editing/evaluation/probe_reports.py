"""The questions about one fact, with the answers, as evidence for reviewers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from editing.evaluation.evidence import Evidence
from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.question_set import FactQuestions, ForcedChoice
from editing.evaluation.responses import Responses
from editing.evaluation.scoring import Question
from editing.model.passes import Ids
from editing.spec import ProbeReport

PROBES = {measure.name: measure.probe or measure.name for measure in FACT_MEASURES}
"""Measure → name of its questions in a fact's evidence."""


def probe_reports(questions: FactQuestions, evidence: Evidence, *, always: bool) -> tuple[ProbeReport, ...]:
    """All questions about a fact; without `always`, empty for one that failed none of them.

    Of the questions that are not to be answered with a given text, only those that failed are reported.
    """
    asked = [_stated(PROBES[name], question, evidence) for name, question in questions.probes()]
    failed = list(_failed(questions, evidence))
    if (
        not always
        and not failed
        and evidence.candidate.states(questions.own)
        and all(p.passed for p in asked)
    ):
        return ()
    return (*asked, *failed)


def _stated(kind: str, question: Question, evidence: Evidence) -> ProbeReport:
    candidate, tokenizer = evidence.candidate, evidence.tokenizer
    expected = _decoded(evidence, question.target)
    given = candidate.shown(tokenizer, question, expected) or ""
    before = evidence.before.shown(tokenizer, question, expected)
    passed = candidate.states(question)
    return ProbeReport(kind, _decoded(evidence, question.prompt), expected, given, passed, before)


def _failed(questions: FactQuestions, evidence: Evidence) -> Iterator[ProbeReport]:
    """Questions of the other kinds that were not answered as expected."""
    candidate, before = evidence.candidate, evidence.before
    for name, cases in questions.sampled.items():
        for case in (case for case in cases if not candidate.mentions(case)):
            given = _text_after(candidate, case.prompt) or ""
            earlier = _text_after(before, case.prompt)
            yield ProbeReport(PROBES[name], case.prompt, case.target or "", given, False, earlier)
    for name, free in questions.free.items():
        for one in (one for one in free if not candidate.says(one)):
            given, earlier = candidate.free[one.prompt], before.free.get(one.prompt)
            yield ProbeReport(PROBES[name], one.prompt, one.names[0], given, False, earlier)
    for name, avoided in questions.avoided.items():
        for question in (question for question in avoided if candidate.states(question)):
            yield _avoided(PROBES[name], question, evidence)
    for name, choices in questions.chosen.items():
        for choice in (choice for choice in choices if not candidate.prefers(choice)):
            yield _chosen(PROBES[name], choice, evidence)


def _avoided(kind: str, question: Question, evidence: Evidence) -> ProbeReport:
    target = _decoded(evidence, question.target)
    before = target if question in evidence.before.scores and evidence.before.states(question) else None
    return ProbeReport(kind, _decoded(evidence, question.prompt), f"not {target}", target, False, before)


def _chosen(kind: str, choice: ForcedChoice, evidence: Evidence) -> ProbeReport:
    expected, other = (_decoded(evidence, one.target) for one in (choice.expected, choice.other))
    before = None
    if choice.expected in evidence.before.scores and choice.other in evidence.before.scores:
        before = expected if evidence.before.prefers(choice) else other
    return ProbeReport(kind, _decoded(evidence, choice.expected.prompt), expected, other, False, before)


def _text_after(responses: Responses, prompt: str) -> str | None:
    """The text that was generated, up to where it stops answering the prompt; None if there is none."""
    text = responses.texts.get(prompt)
    return None if text is None else text.answer.strip()


def _decoded(evidence: Evidence, tokens: Ids | Sequence[int]) -> str:
    return str(evidence.tokenizer.decode(tokens, skip_special_tokens=True)).strip()
