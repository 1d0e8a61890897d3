"""From answers to figures: the measures a gate can be put on, and what became of every fact.

Measures, by name:

    efficacy           new facts that are the strict argmax on their own prompt
    efficacy_alone     the same with each fact's δ injected alone into the base
    paraphrase         paraphrases of new facts, and new facts the other way round, answered as they state
    neighbourhood      neighbours of new facts that are answered as before
    same_subject       other relations of new facts' subjects that are answered as before
    retention          facts in live that are still said
    known_retention    facts the base knows unedited that are still said
    generation         new facts whose object appears in text sampled from their prompt
    fluency            n-gram entropy of generated texts, as a share of the base's on the same prompts
    fluency_bits       the entropy itself, GE by the paper's formula
    fluency_released   GE as the released code computes it
    perplexity_ratio   perplexity of held-out text, candidate over base
    weight_growth      largest ‖W'‖ / ‖W‖ of an edited matrix
    canaries           the operator's own questions that are answered as required

A measure of no case has n = k = 0 and no value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing.evaluation.generation import mean, ngram_entropy, ngram_entropy_released, says
from editing.evaluation.questions import Exam, FactQuestions, ProbeKind, Sitting
from editing.evaluation.scoring import Question
from editing.model.inference import Ids
from editing.requests import render
from editing.spec import FactReport, FactSpec, Measure, ProbeReport


@dataclass(frozen=True)
class Judgement:
    """Everything known about one candidate when it is judged."""

    tokenizer: Any
    facts: Sequence[FactSpec]
    known: Mapping[str, tuple[bool, str]]
    """Fact id → (the base states it, the base's answer)."""
    exam: Exam
    base: Sitting
    candidate: Sitting
    live: Sitting | None
    alone: Mapping[str, bool]
    groups: Mapping[str, str]
    growth: float
    live_growth: float | None

    def measures(self) -> tuple[Measure, ...]:
        """Every measure, those of no case included; perplexity only where there is held-out text."""
        new, kept, unedited = self._parts()
        measures = [
            self._proportion("efficacy", [questions.own for _, questions in new]),
            _counted("efficacy_alone", list(self.alone.values())),
            self._proportion("paraphrase", [q for _, questions in new for q in questions.paraphrases]),
            self._proportion("neighbourhood", [q for _, questions in new for q in questions.neighbours]),
            self._proportion("same_subject", [q for _, questions in new for q in questions.same_subject]),
            self._proportion("retention", [own for _, own in kept], self._all(kept, lambda f: f.in_live)),
            self._proportion(
                "known_retention",
                [own for _, own in unedited],
                self._all(unedited, lambda f: self.known[f.id][0]),
            ),
            self._generation(),
            *self._fluency(),
            Measure("weight_growth", _finite(self.growth), live=_finite(self.live_growth)),
            self._proportion("canaries", list(self.exam.canaries)),
        ]
        if self.exam.windows:
            measures.append(self._perplexity())
        return tuple(measures)

    def fact_reports(self) -> tuple[FactReport, ...]:
        """One report a fact, in the view's order."""
        return tuple(self._fact(fact) for fact in self.facts)

    def _parts(
        self,
    ) -> tuple[
        list[tuple[FactSpec, FactQuestions]], list[tuple[FactSpec, Question]], list[tuple[FactSpec, Question]]
    ]:
        """New facts with all their questions; facts in live, and known ones, with their own question."""
        asked = [(fact, self.exam.facts[fact.id]) for fact in self.facts if fact.id in self.exam.facts]
        new = [(f, q) for f, q in asked if not self.known[f.id][0] and not f.in_live]
        kept = [(f, q.own) for f, q in asked if f.in_live]
        unedited = [(f, q.own) for f, q in asked if self.known[f.id][0]]
        return new, kept, unedited

    def _all(self, asked: Sequence[tuple[FactSpec, Question]], belongs: Callable[[FactSpec], bool]) -> bool:
        """Whether `asked` are all the facts that belong to a measure."""
        return len(asked) == sum(belongs(fact) for fact in self.facts)

    def _proportion(self, name: str, questions: Sequence[Question], exhaustive: bool = True) -> Measure:
        hits = [self.candidate.says(question) for question in questions]
        live = None if self.live is None else [self.live.says(question) for question in questions]
        return _counted(name, hits, live, exhaustive)

    def _generation(self) -> Measure:
        prompts = {fact.id: render(fact.prompt, fact.subject) for fact in self.facts}
        targets = {fact.id: fact.target for fact in self.facts}
        hits = [says(self.candidate.texts[prompts[id]], targets[id]) for id in self.exam.generated]
        new, _, _ = self._parts()
        return _counted("generation", hits, exhaustive=len(hits) == len(new))

    def _fluency(self) -> Iterable[Measure]:
        prompts = self.exam.texts
        if not prompts:
            yield _counted("fluency", [])
            return
        own = _entropies(self.candidate, prompts, ngram_entropy)
        base = _entropies(self.base, prompts, ngram_entropy)
        live = _entropies(self.live, prompts, ngram_entropy) if self.live else None
        yield Measure("fluency", _ratio(own, base), len(prompts), live=_ratio(live, base))
        yield Measure("fluency_bits", own, len(prompts), live=live, unit="bits")
        released = _entropies(self.candidate, prompts, ngram_entropy_released)
        yield Measure("fluency_released", released, len(prompts), unit="bits")

    def _perplexity(self) -> Measure:
        tokens = sum(window.shape[1] - 1 for window in self.exam.windows)
        live = self.live.perplexity if self.live else None
        ratio = _ratio(self.candidate.perplexity, self.base.perplexity)
        return Measure("perplexity_ratio", ratio, tokens, live=_ratio(live, self.base.perplexity))

    def _fact(self, fact: FactSpec) -> FactReport:
        known, base_answer = self.known[fact.id]
        questions = self.exam.facts.get(fact.id)
        if questions is None:
            return FactReport(fact.id, known, base_answer, "", None, group=self.groups.get(fact.id, ""))
        own, old, candidate = questions.own, questions.old, self.candidate
        prompt = render(fact.prompt, fact.subject)
        return FactReport(
            id=fact.id,
            known=known,
            base_answer=base_answer,
            answer=candidate.text(self.tokenizer, own, fact.target),
            efficacy=candidate.says(own),
            alone=self.alone.get(fact.id),
            paraphrases=tuple(candidate.says(question) for question in questions.paraphrases),
            neighbours=tuple(candidate.says(question) for question in questions.neighbours),
            same_subject=tuple(candidate.says(question) for question in questions.same_subject),
            generated=says(candidate.texts[prompt], fact.target) if fact.id in self.exam.generated else None,
            live_answer=self.live.text(self.tokenizer, own, fact.target) if self.live else None,
            p_new=_finite(candidate.scores[own].probability),
            p_old=_finite(candidate.scores[old].probability) if old else None,
            group=self.groups.get(fact.id, ""),
            probes=self._probes(questions),
        )

    def _probes(self, questions: FactQuestions) -> tuple[ProbeReport, ...]:
        """What a fact that failed any question was asked; nothing for one that failed none."""
        asked = list(questions.probes())
        if all(self.candidate.says(question) for question in (questions.own, *(q for _, q in asked))):
            return ()
        return tuple(self._probe(kind, question) for kind, question in asked)

    def _probe(self, kind: ProbeKind, question: Question) -> ProbeReport:
        passed = self.candidate.says(question)
        expected = self._text(question.target)
        given = expected if passed else ""
        if not passed and question.prompt in self.candidate.greedy:
            given = self.candidate.text(self.tokenizer, question, expected)
        return ProbeReport(kind, self._text(question.prompt), expected, given, passed)

    def _text(self, tokens: Ids) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def _counted(
    name: str, hits: Sequence[bool], live: Sequence[bool] | None = None, exhaustive: bool = True
) -> Measure:
    n = len(hits)
    return Measure(
        name,
        value=sum(hits) / n if n else None,
        n=n,
        k=sum(hits),
        exhaustive=exhaustive,
        live=sum(live) / n if live and n else None,
        live_k=sum(live) if live is not None else None,
    )


def _entropies(sitting: Sitting, prompts: Sequence[str], measure: Callable[[str], float]) -> float | None:
    return mean([measure(sitting.texts[prompt]) for prompt in prompts])


def _ratio(value: float | None, base: float | None) -> float | None:
    if value is None or base is None or base == 0:
        return None
    return _finite(value / base)


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: what is not a number has no value, and a gate on it fails."""
    return value if value is not None and math.isfinite(value) else None
