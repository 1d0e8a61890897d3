"""The questions of a checkpoint's exam whose judged answers are known, and a sample of them: pure.

A round's report has the answer to every fact's own prompt, whether each further question was answered as expected, and
the texts of all answers about facts that failed a question and about the first new facts.  A question in a conversation
is asked as the user's only turn, without a thought before the answer; the server puts it through the chat template.
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
"""A fact is answered freely after so many of its paraphrases, and in so many conversations (`UNSEEN` in
`editing.evaluation.measures.of_facts`)."""
CHAT = "chat"
"""The kind of a question in a conversation."""


@dataclass(frozen=True, slots=True)
class ExamQuestion:
    """One question that the gates judged."""

    kind: str
    """`own`, `paraphrase`, `neighbour`, `same subject`, `said`, `chat` or `canary`."""
    fact: str
    """Id of the fact that it is about; empty for a canary."""
    prompt: str
    """The text that the model continues or, of kind `chat`, what the user asks."""
    judged: str | None
    """The answer that was judged; None for a free answer that stated the fact, whose text the report does not have."""
    probability: float | None = None
    """Of the judged answer, as the geometric mean of its tokens' probabilities, where it was measured."""


def exam(spec: BuildSpec, report: BuildReport, *, chat: bool = True) -> list[ExamQuestion]:
    """Every question whose judged answer is known, each once; without `chat`, none in a conversation."""
    specs = {fact.id: fact for fact in spec.facts}
    found: dict[tuple[str, str], ExamQuestion] = {}
    for fact in report.facts:
        if fact.id in specs:
            own = specs[fact.id]
            for question in (*_about(own, fact), *(_in_chat(own, fact, spec.settings.chat) if chat else ())):
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


def _in_chat(spec: FactSpec, fact: FactReport, edited: bool) -> Iterator[ExamQuestion]:
    """The conversations about a fact; `edited`: its first questions were edited with, and judge nothing.

    What was asked in conversations follows what was asked as completions, and further conversations (after a system
    message, or with a thought) follow the plain ones.
    """
    questions = spec.unseen_questions if edited else (*spec.questions, *spec.unseen_questions)
    put = [render(question, spec.subject) for question in dict.fromkeys(questions)][:_FREE]
    wordings = {render(one.prompt, one.subject) for one in spec.wordings()}
    completions = sum(prompt not in wordings for prompt in spec.paraphrases[:_FREE])
    outcomes = fact.outcomes.get("said_in_chat") or fact.outcomes.get("old_said", ())[completions:]
    if len(outcomes) < len(put):
        return  # no chat template, or a question that was left out
    free = [probe for probe in fact.probes if _KINDS.get(probe.kind) == "said" and not probe.passed]
    for question, passed in zip(put, outcomes, strict=False):
        if passed:
            yield ExamQuestion(CHAT, fact.id, question, None)
            continue
        said = next((probe.answer for probe in free if question in probe.prompt), "")
        if said:
            yield ExamQuestion(CHAT, fact.id, question, said)


def sample(questions: Sequence[ExamQuestion], count: int, seed: str) -> list[ExamQuestion]:
    """At most `count` of the questions, of all kinds in turn; the same `seed` draws the same."""
    kinds: dict[str, list[ExamQuestion]] = defaultdict(list)
    for question in sorted(questions, key=lambda one: _lot(seed, one)):
        kinds[question.kind].append(question)
    turns = zip_longest(*(kinds[kind] for kind in sorted(kinds)))
    return [question for turn in turns for question in turn if question is not None][:count]


def _lot(seed: str, question: ExamQuestion) -> bytes:
    return hashlib.sha256(f"{seed}\0{question.kind}\0{question.prompt}".encode()).digest()
