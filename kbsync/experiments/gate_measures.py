"""What the gates of a run measure, measured in an experiment: free answers, consequences, negation, locality, …

Questions and verdicts are those of a run (`editing.evaluation`); only the facts come from an experiment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from editing.consequence import Consequence
from editing.evaluation.evidence import Evidence
from editing.evaluation.figures import mean
from editing.evaluation.measures.declaration import FactMeasure
from editing.evaluation.measures.of_candidate import CANDIDATE_MEASURES
from editing.evaluation.measures.of_facts import FACT_MEASURES
from editing.evaluation.question_set import FactQuestions, QuestionSet
from editing.evaluation.questions import AskedBase, build_questions, known_facts
from editing.evaluation.reporting import answered_as_expected
from editing.evaluation.responses import Responses
from editing.model import chat
from editing.requests import render
from editing.settings import EditSettings
from editing.spec import BaseAnswer, BuildSpec, Case, FactSpec
from kbsync.experiments.cases import EditCase
from kbsync.experiments.consequences import Background

OF_FACTS = {
    "said": "said",
    "reversed": "reversed",
    "two_hop": "two_hop_said",
    "negation": "negation",
    "long_prefix": "long_prefix",
    "same_subject": "same_subject",
}
"""Measure of the gates → its name in `FactScores`, whose `two_hop` is the strict argmax on a data set's questions."""
DECLARED = {measure.name: measure for measure in FACT_MEASURES}
OF_MODELS = ("kl_median", "kl_p99")
EXAMINED = 32
"""Maximum number of facts of a trial that are asked this, the first ones."""


@dataclass(frozen=True, slots=True)
class GateScores:
    """The measures of one edited model."""

    by_fact: Mapping[str, Mapping[str, float | None]]
    """Id of a fact → field of `FactScores` → share of its questions that were answered as expected."""
    of_model: Mapping[str, float | None]
    """The figures that the model has as a whole (`OF_MODELS`)."""


@dataclass(frozen=True)
class GateExam:
    """The questions of one trial, which the base has answered."""

    facts: Sequence[FactSpec]
    known: Mapping[str, BaseAnswer]
    asked: QuestionSet
    base: AskedBase

    def taken(self, *, unedited: bool = False) -> GateScores:
        """The answers of the model with its current weights.

        The unedited model is asked the robustness measures about what it states itself: what it cannot answer there,
        no edit can be expected to.
        """
        sheets = {name: self._sheet(name, unedited=unedited) for name in OF_FACTS}
        candidate = Responses(base=self.base.responses)
        found = [(name, questions) for name, sheet in sheets.items() for questions in sheet.values()]
        scored = [(*one.scored.get(name, ()), *one.avoided.get(name, ())) for name, one in found]
        candidate.score(self.base.model, (question for some in scored for question in some))
        candidate.compare(self.base.model, self.asked.untouched)
        free = [question.prompt for name, one in found for question in one.free.get(name, ())]
        candidate.answer_freely(self.base.model, self.base.tokenizer, free)
        return GateScores(
            {
                id: {
                    column: _share(DECLARED[name], sheets[name].get(id), candidate)
                    for name, column in OF_FACTS.items()
                }
                for id in self.asked.facts
            },
            self._of_model(candidate),
        )

    def _sheet(self, name: str, *, unedited: bool) -> Mapping[str, FactQuestions]:
        """Id of each fact that the measure asks about → its questions."""
        own = self.asked.ability if unedited and DECLARED[name].chance is not None else self.asked.facts
        return {id: questions for id, questions in own.items() if name in questions.by_measure()}

    def _of_model(self, candidate: Responses) -> dict[str, float | None]:
        evidence = Evidence(
            tokenizer=self.base.tokenizer,
            facts=self.facts,
            known=self.known,
            asked=self.asked,
            base=self.base.responses,
            candidate=candidate,
            live=None,
            alone={},
            groups={},
            growth=1.0,
            live_growth=None,
        )
        figures = {measure.name: measure.figure for measure in CANDIDATE_MEASURES}
        found = {name: figure(evidence) for name in OF_MODELS if (figure := figures[name]) is not None}
        return {name: None if one is None else one.value for name, one in found.items()}


def _share(measure: FactMeasure, questions: FactQuestions | None, candidate: Responses) -> float | None:
    """The share of a fact's questions that are answered as expected; None if there are none."""
    if questions is None:
        return None
    return mean([float(hit) for hit in answered_as_expected(measure, questions, candidate)])


def exam(
    base: AskedBase,
    cases: Sequence[EditCase],
    background: Background,
    settings: EditSettings,
    *,
    variants: int,
    windows: Sequence[Tensor],
) -> GateExam:
    """The questions about the first `EXAMINED` of `cases`; the model must have the base's weights.

    `windows`: held-out text, from which the ordinary text before a prompt is taken.
    """
    consequences = background.consequences(cases)
    facts = tuple(
        _fact_spec(case, base.tokenizer, variants, consequences[case.record.request.id])
        for case in cases[:EXAMINED]
    )
    spec = BuildSpec(
        run="",
        base="",
        base_digest="",
        out="",
        cache="",
        corpus=(),
        heldout=None,
        facts=facts,
        settings=settings,
        generate=len(facts),
    )
    known = known_facts(base, facts)
    asked = build_questions(base, spec, known, windows)
    base.responses.compare(base.model, asked.untouched)
    return GateExam(facts, known, asked, base)


def _fact_spec(
    case: EditCase, tokenizer: Any, variants: int, consequences: tuple[Consequence, ...]
) -> FactSpec:
    record = case.record
    chats = chat.opening(tokenizer) is not None
    return FactSpec(
        id=record.request.id,
        prompt=record.request.prompt,
        subject=case.subject,
        target=record.request.target,
        previous=record.previous,
        known=None if record.previous is None else False,
        base_answer=record.previous,
        variants=case.wordings[:variants],
        paraphrases=case.paraphrases(variants),
        neighbours=tuple(Case(*pair) for pair in record.neighbours),
        same_subject=tuple(Case(render(template, case.subject)) for template in case.protected),
        conversations=tuple(chat.asked(tokenizer, render(text, case.subject)) for text in record.questions)
        if chats
        else (),
        consequences=consequences,
    )
