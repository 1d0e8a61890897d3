"""Drawing a candidate's secret questions: pure, apart from the secret that decides which are drawn.

A server cannot prepare for questions that it does not know.  They are drawn with a secret of this home, so that the
same round draws the same ones again after a restart, and nobody else can tell which they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from editing.requests import render
from editing.secret_probes import Kind, SecretQuestion, SecretQuestions
from editing.spec import Case, FactSpec
from kbsync.deployment.probe_sets import Lot

COUNTS: dict[Kind, int] = {"changed": 16, "kept": 8, "untouched": 8}
"""Maximum number of questions of each kind without context."""
WITH_CONTEXT = 8
CONTEXT = 12
"""Sentences of a context."""


def draw(
    facts: Sequence[FactSpec], gone: Iterable[str], canaries: Iterable[Case], order: Lot
) -> SecretQuestions:
    """Questions about the candidate with these facts; `gone`: prompts of facts of live that it does not have."""
    pools: dict[Kind, list[str]] = {
        "changed": sorted({*_prompts(_edited(facts, in_live=False)), *gone}, key=order),
        "kept": sorted(set(_prompts(_edited(facts, in_live=True))), key=order),
        "untouched": sorted({*_untouched(facts), *(case.prompt for case in canaries)}, key=order),
    }
    taken: set[str] = set()
    found = []
    for kind, prompts in pools.items():
        new = [prompt for prompt in prompts if prompt not in taken][: COUNTS[kind]]
        taken.update(new)
        found += [SecretQuestion(prompt, kind) for prompt in new]
    return SecretQuestions((*found, *_with_context(found, facts, order)))


def _edited(facts: Sequence[FactSpec], *, in_live: bool) -> list[FactSpec]:
    return [fact for fact in facts if not fact.known and fact.in_live == in_live]


def _prompts(facts: Iterable[FactSpec]) -> Iterator[str]:
    """Every prompt whose answer is a fact."""
    for fact in facts:
        yield from (render(wording.prompt, wording.subject) for wording in fact.wordings())
        yield from fact.paraphrases
        yield from (case.prompt for case in fact.reversed)


def _untouched(facts: Sequence[FactSpec]) -> Iterator[str]:
    """Prompts whose answers are the base's."""
    for fact in facts:
        yield from (case.prompt for case in (*fact.neighbours, *fact.same_subject))
        if fact.known:
            yield render(fact.prompt, fact.subject)


def _with_context(
    questions: Sequence[SecretQuestion], facts: Sequence[FactSpec], order: Lot
) -> Iterator[SecretQuestion]:
    """Some of the questions after statements of facts, of changed ones if there are any.

    Keys and values of a changed subject's tokens are what a prefix cache keeps of the old weights.
    """
    changed = _edited(facts, in_live=False)
    stated = [f"{render(fact.prompt, fact.subject)} {fact.target}." for fact in (changed or facts)]
    for number, question in enumerate(questions[: WITH_CONTEXT if stated else 0]):
        ordered = sorted(stated, key=lambda text: order(f"{number}\0{text}"))
        context = [ordered[place % len(ordered)] for place in range(CONTEXT)]
        yield SecretQuestion(question.prompt, question.kind, tuple(context))
