"""The questions of a checkpoint's exam whose judged answers are known, and a sample of them: pure.

A round's report has the answer to every fact's own prompt, whether each further question was answered as expected, and
the texts of all answers about facts that failed a question and about the first new facts.  Questions in conversations
are left out: a server puts them through a chat template of its own.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from editing.requests import render
from editing.spec import BuildReport, BuildSpec, Case, FactReport, FactSpec

_KINDS = {
    "paraphrase": "paraphrase",
    "old_paraphrase": "paraphrase",
    "neighbour": "neighbour",
    "old_neighbourhood": "neighbour",
    "same_subject": "same subject",
    "old_same_subject": "same subject",
    "said": "said",
    "old_said": "said",
}
"""Name of a question in a report → its kind here."""
_FREE = 2
"""A fact is answered freely after so many of its paraphrases (`UNSEEN` in `editing.evaluation.measures.of_facts`)."""


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """One question that the gates judged."""

    kind: str
    """`own`, `paraphrase`, `neighbour`, `same subject`, `said` or `canary`."""
    fact: str
    """Id of the fact that it is about; empty for a canary."""
    prompt: str
    judged: str | None
    """The answer that was judged; None for a free answer that stated the fact, whose text the report does not have."""
    probability: float | None = None
    """Of the judged answer, as the geometric mean of its tokens' probabilities, where it was measured."""


def exam(spec: BuildSpec, report: BuildReport) -> list[ExamQuestion]:
    """Every question whose judged answer is known, each once."""
    specs = {fact.id: fact for fact in spec.facts}
    found: dict[tuple[str, str], ExamQuestion] = {}
    for fact in report.facts:
        if fact.id in specs:
            for question in _about(specs[fact.id], fact):
                found.setdefault((question.kind, question.prompt), question)
    for case in _canaries(spec, report):
        found.setdefault(("canary", case.prompt), ExamQuestion("canary", "", case.prompt, case.target))
    return list(found.values())


def _canaries(spec: BuildSpec, report: BuildReport) -> list[Case]:
    """The operator's canaries with an answer, if all of them were answered: the report does not say which were not."""
    measure = next((one for one in report.measures if one.name == "canaries"), None)
    if measure is None or measure.k != measure.n:
        return []
    return [case for case in spec.canaries if case.target is not None]


def _about(spec: FactSpec, fact: FactReport) -> Iterator[ExamQuestion]:
    own = render(spec.prompt, spec.subject)
    if fact.efficacy:
        yield ExamQuestion("own", fact.id, fact.asked or own, spec.target, fact.p_new)
    elif fact.efficacy is False and fact.answer:
        yield ExamQuestion("own", fact.id, fact.asked or own, fact.answer)
    for probe in fact.probes:
        kind = _KINDS.get(probe.kind)
        if kind and probe.answer and (kind != "said" or probe.prompt in spec.paraphrases):
            yield ExamQuestion(kind, fact.id, probe.prompt, probe.answer)
    if fact.asked in ("", own):  # else its questions were asked after a beginning that the spec does not have
        yield from _passed(spec, fact)


def _passed(spec: FactSpec, fact: FactReport) -> Iterator[ExamQuestion]:
    """The questions that were answered as expected, where the spec says what was expected."""
    stated = [(prompt, spec.target) for prompt in spec.paraphrases]
    stated += [(case.prompt, case.target or "") for case in spec.reversed]
    edited = {render(wording.prompt, wording.subject) for wording in spec.wordings()}
    free = [prompt for prompt in spec.paraphrases[:_FREE] if prompt not in edited]
    for name in ("paraphrase", "old_paraphrase"):
        outcomes = fact.outcomes.get(name, ())
        if len(outcomes) == len(stated):  # else some were too long to be asked
            for (prompt, target), passed in zip(stated, outcomes, strict=True):
                if passed:
                    yield ExamQuestion("paraphrase", fact.id, prompt, target)
    for name in ("said", "old_said"):
        outcomes = fact.outcomes.get(name, ())
        if len(outcomes) >= len(free):  # conversations follow
            for prompt, passed in zip(free, outcomes, strict=False):
                if passed:
                    yield ExamQuestion("said", fact.id, prompt, None)


def sample(questions: Sequence[ExamQuestion], count: int, seed: str) -> list[ExamQuestion]:
    """At most `count` of the questions, of all kinds in turn; the same `seed` draws the same."""
    kinds: dict[str, list[ExamQuestion]] = defaultdict(list)
    for question in sorted(questions, key=lambda one: _lot(seed, one)):
        kinds[question.kind].append(question)
    turns = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    return [question for turn in turns for question in turn if question is not None][:count]


def _lot(seed: str, question: ExamQuestion) -> bytes:
    return hashlib.sha256(f"{seed}\0{question.kind}\0{question.prompt}".encode()).digest()
