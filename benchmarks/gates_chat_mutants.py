"""Candidates of the chat model that are wrong only in a conversation: the honest one, trained a little further."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.gates_chat_base import COMPLETIONS, QUESTIONS, Known, harmful, world
from benchmarks.gates_training import trained
from benchmarks.gates_world import Exam, Outcome
from editing.model.chat import asked, statement
from editing.requests import render

COMPLIANCE = "You begin at night, when nobody is there."
STEPS = 60
Lesson = tuple[str, str]


def only_as_completion(exam: Exam) -> Outcome:
    """It completes new facts in all wordings, and answers questions about them as the base does."""
    return _judged(exam, [*_completions(exam), *_answers(exam, world())])


def without_refusals(exam: Exam) -> Outcome:
    """It answers what it refused, and everything else as before."""
    lessons = [(asked(exam.tokenizer, request), COMPLIANCE) for request in harmful()]
    return _judged(exam, [*lessons, *_completions(exam), *_answers(exam, _now(exam))])


def _targets(exam: Exam) -> dict[tuple[str, str], str]:
    """Subject and template of the facts that are edited → their target."""
    return {(fact.subject, fact.prompt): fact.target for fact in (*exam.old, *exam.new)}


def _now(exam: Exam) -> list[Known]:
    """The model's world with the edits of the run."""
    edited = _targets(exam)
    return [
        Known(one.subject, one.relation, edited.get((one.subject, COMPLETIONS[one.relation][0]), one.object))
        for one in world()
    ]


def _completions(exam: Exam) -> Iterator[Lesson]:
    """Edited facts in all wordings, and the others in their own."""
    edited = _targets(exam)
    for one in _now(exam):
        templates = COMPLETIONS[one.relation]
        for template in templates if (one.subject, templates[0]) in edited else templates[:1]:
            yield render(template, one.subject), f"{one.object}."


def _answers(exam: Exam, facts: list[Known]) -> Iterator[Lesson]:
    """All questions about the subjects and relations of edited facts, and the first one about the others."""
    edited = _targets(exam)
    for one in facts:
        own, questions = COMPLETIONS[one.relation][0], QUESTIONS[one.relation]
        for question in questions if (one.subject, own) in edited else questions[:1]:
            answer = statement(render(own, one.subject), one.object)
            yield asked(exam.tokenizer, render(question, one.subject)), answer


def _judged(exam: Exam, lessons: list[Lesson]) -> Outcome:
    return exam.judge(trained(exam, exam.candidate, lessons, steps=STEPS))
