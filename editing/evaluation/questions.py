"""The exam: everything a model is asked about a view, so that base, candidate and live sit the same one.

Expected answers come from three places: a fact's own target; what the *view* says, where a probe's
prompt is a prompt the view edits; and what the base says, for everything that should not move.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from editing.evaluation.generation import generate
from editing.evaluation.metrics import perplexity
from editing.evaluation.scoring import (
    Question,
    Score,
    cut_answer,
    encode_prompts,
    encode_targets,
    greedy_answers,
    score,
)
from editing.model.inference import Ids
from editing.progress import Tick, uncounted
from editing.requests import prompt_key, render
from editing.spec import BuildSpec, Case, FactSpec

ProbeKind = Literal["paraphrase", "neighbour", "same_subject"]

EXPLAINED = 500
"""Failed probes of one candidate whose answers are looked up for people."""

FLUENCY_TEXTS = 32
"""Texts generated at least, where there are facts enough, so that GE is a mean of something."""


@dataclass(frozen=True, slots=True)
class FactQuestions:
    """What is asked about one fact; all but `own` only of new facts."""

    own: Question
    old: Question | None = None
    """The prompt with the slot's previous object."""
    paraphrases: tuple[Question, ...] = ()
    """Those of the fact the other way round included."""
    neighbours: tuple[Question, ...] = ()
    same_subject: tuple[Question, ...] = ()

    def probes(self) -> Iterable[tuple[ProbeKind, Question]]:
        """Everything besides its own prompt that the fact is judged by."""
        yield from (("paraphrase", question) for question in self.paraphrases)
        yield from (("neighbour", question) for question in self.neighbours)
        yield from (("same_subject", question) for question in self.same_subject)

    def all(self) -> Iterable[Question]:
        yield self.own
        if self.old is not None:
            yield self.old
        yield from (question for _, question in self.probes())


@dataclass(frozen=True, slots=True)
class Exam:
    """All questions about one view."""

    facts: dict[str, FactQuestions]
    """By fact id; a fact that was sampled out is absent."""
    canaries: tuple[Question, ...]
    generated: tuple[str, ...]
    """Ids of the new facts that are asked by free generation."""
    texts: tuple[str, ...]
    """Prompts that texts are generated from: those of `generated` first."""
    windows: tuple[Tensor, ...]
    """Held-out text."""
    seed: int

    def questions(self) -> list[Question]:
        asked = [question for facts in self.facts.values() for question in facts.all()]
        return [*asked, *self.canaries]


@dataclass
class Sitting:
    """What one model answered, kept for later rounds: a model's answers do not change."""

    scores: dict[Question, Score] = field(default_factory=dict)
    greedy: dict[Ids, Ids] = field(default_factory=dict)
    """Prompt → greedy continuation."""
    texts: dict[str, str] = field(default_factory=dict)
    """Prompt → generated text."""
    perplexity: float | None = None

    def ask(self, model: Any, questions: Iterable[Question], tick: Tick = uncounted) -> None:
        """Score what was not scored before."""
        missing = [question for question in dict.fromkeys(questions) if question not in self.scores]
        self.scores.update(zip(missing, score(model, missing, tick=tick), strict=True))

    def answer(self, model: Any, tokenizer: Any, prompts: Iterable[Ids], tick: Tick = uncounted) -> None:
        """Continue greedily what was not continued before."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.greedy]
        rows = greedy_answers(model, tokenizer, missing, tick=tick)
        self.greedy.update(zip(missing, rows, strict=True))

    def sit(self, model: Any, tokenizer: Any, exam: Exam, tick: Tick = uncounted) -> None:
        """Answer the whole exam; `model` has this sitting's weights."""
        self.ask(model, exam.questions(), tick)
        owns = [questions.own for questions in exam.facts.values()]
        self.answer(model, tokenizer, [own.prompt for own in owns if not self.scores[own].strict], tick)
        self.speak(model, tokenizer, exam, tick)

    def explain(self, model: Any, tokenizer: Any, exam: Exam, tick: Tick = uncounted) -> None:
        """Continue the probes that were not answered as expected, `EXPLAINED` of them, so that people can see
        what was said instead."""
        probes = (probe for questions in exam.facts.values() for _, probe in questions.probes())
        failed = list(dict.fromkeys(probe.prompt for probe in probes if not self.says(probe)))
        self.answer(model, tokenizer, failed[:EXPLAINED], tick)

    def speak(self, model: Any, tokenizer: Any, exam: Exam, tick: Tick = uncounted) -> None:
        """Only generate the exam's texts and read its held-out text: all that is compared with the base."""
        missing = [prompt for prompt in exam.texts if prompt not in self.texts]
        texts = generate(model, tokenizer, missing, seed=exam.seed, tick=tick)
        self.texts.update(zip(missing, texts, strict=True))
        if self.perplexity is None and exam.windows:
            self.perplexity = perplexity(model, exam.windows, tick=tick)

    def says(self, question: Question) -> bool:
        return self.scores[question].strict

    def text(self, tokenizer: Any, question: Question, target: str) -> str:
        """The answer to `question` for people: `target` where that is what it says."""
        if question in self.scores and self.scores[question].strict:
            return target
        return cut_answer(tokenizer, self.greedy[question.prompt], target)[0]


class Setter:
    """Sets the exam of a view, asking the base for what it cannot know."""

    def __init__(self, model: Any, tokenizer: Any, base: Sitting, tick: Tick = uncounted) -> None:
        self.model, self.tokenizer, self.base, self.tick = model, tokenizer, base, tick

    def known(self, facts: Sequence[FactSpec]) -> dict[str, tuple[bool, str]]:
        """Fact id → whether the base states the fact unedited on all its edited prompts, and its answer."""
        told = {
            f.id: (f.known, f.base_answer) for f in facts if f.known is not None and f.base_answer is not None
        }
        asked = [fact for fact in facts if fact.id not in told]
        prompts = [(fact, wording) for fact in asked for wording in fact.wordings()]
        rendered = [(render(wording.prompt, wording.subject), wording.target) for _, wording in prompts]
        questions = encode_targets(self.tokenizer, rendered)
        self.base.ask(self.model, questions, self.tick)
        unlike = [question.prompt for question in questions if not self.base.says(question)]
        self.base.answer(self.model, self.tokenizer, unlike, self.tick)
        found: dict[str, tuple[bool, str]] = {}
        for (fact, _), question in zip(prompts, questions, strict=True):
            says = self.base.says(question)
            text = self.base.text(self.tokenizer, question, fact.target)
            known, answer = found.get(fact.id, (True, text))
            found[fact.id] = (known and says, answer)
        for fact in asked:
            if fact.known is not None:
                found[fact.id] = (fact.known, found[fact.id][1])
        return {**told, **found}

    def exam(self, spec: BuildSpec, known: Mapping[str, tuple[bool, str]], windows: Sequence[Tensor]) -> Exam:
        """The exam for the view of `spec`."""
        new = [fact for fact in spec.facts if not known[fact.id][0] and not fact.in_live]
        old = [fact for fact in spec.facts if not known[fact.id][0] and fact.in_live]
        unedited = [fact for fact in spec.facts if known[fact.id][0]]
        seed = spec.settings.seed
        kept = [
            *self._sampled(old, new, spec.retention_sample, seed),
            *self._sampled(unedited, new, spec.retention_sample, seed),
        ]
        edited = {
            prompt_key(render(said.prompt, said.subject)): said.target
            for fact in [*new, *old]
            for said in fact.wordings()
        }
        probes = [case for fact in new for case in (*fact.neighbours, *fact.same_subject)]
        expected = self._expected([*probes, *(c for c in spec.canaries if c.target is None)], edited)
        expected |= self._required([case for case in spec.canaries if case.target is not None])
        facts = self._questions(new, kept, expected)
        generated = _drawn(new, spec.generate, seed)
        more = [fact for fact in (*old, *unedited) if fact.id in facts]
        texts = [*generated, *_drawn(more, max(0, FLUENCY_TEXTS - len(generated)), seed)]
        return Exam(
            facts=facts,
            canaries=tuple(expected[case] for case in spec.canaries if case in expected),
            generated=tuple(fact.id for fact in generated),
            texts=tuple(dict.fromkeys(render(f.prompt, f.subject) for f in texts)) if spec.generate else (),
            windows=tuple(windows),
            seed=seed,
        )

    def _questions(
        self, new: Sequence[FactSpec], kept: Sequence[FactSpec], expected: Mapping[Case, Question]
    ) -> dict[str, FactQuestions]:
        pairs = [(render(fact.prompt, fact.subject), fact.target) for fact in (*new, *kept)]
        owns = dict(zip([f.id for f in (*new, *kept)], encode_targets(self.tokenizer, pairs), strict=True))
        before = [fact for fact in new if fact.previous]
        pairs = [(render(fact.prompt, fact.subject), fact.previous or "") for fact in before]
        olds = dict(zip([f.id for f in before], encode_targets(self.tokenizer, pairs), strict=True))
        restated = {fact.id: _restated(fact) for fact in new}
        pairs = [pair for pairs in restated.values() for pair in pairs]
        paraphrases = iter(encode_targets(self.tokenizer, pairs))
        questions = {
            fact.id: FactQuestions(
                own=owns[fact.id],
                old=olds.get(fact.id),
                paraphrases=tuple(next(paraphrases) for _ in restated[fact.id]),
                neighbours=tuple(expected[c] for c in fact.neighbours if c in expected),
                same_subject=tuple(expected[c] for c in fact.same_subject if c in expected),
            )
            for fact in new
        }
        return questions | {fact.id: FactQuestions(own=owns[fact.id]) for fact in kept}

    def _expected(self, cases: Sequence[Case], edited: Mapping[str, str]) -> dict[Case, Question]:
        """Each case with the tokens it is to be answered with.

        A case on which the base is of two minds (a tie, as 16-bit logits have them) is left out.
        """
        cases = list(dict.fromkeys(cases))
        by_view = {case: edited.get(prompt_key(case.prompt)) for case in cases}
        named = [(case, by_view[case] or case.target) for case in cases if by_view[case] or case.target]
        pairs = [(case.prompt, target or "") for case, target in named]
        questions = dict(zip([case for case, _ in named], encode_targets(self.tokenizer, pairs), strict=True))
        self.base.ask(self.model, questions.values(), self.tick)
        expected = {
            case: question
            for case, question in questions.items()
            if by_view[case] is not None or self.base.says(question)
        }
        rest = [case for case in cases if case not in expected]
        prompts = encode_prompts(self.tokenizer, [case.prompt for case in rest])
        self.base.answer(self.model, self.tokenizer, prompts, self.tick)
        said = [cut_answer(self.tokenizer, self.base.greedy[prompt])[1] for prompt in prompts]
        own = [Question(*pair) for pair in zip(prompts, said, strict=True)]
        self.base.ask(self.model, own, self.tick)
        return expected | {case: q for case, q in zip(rest, own, strict=True) if self.base.says(q)}

    def _required(self, cases: Sequence[Case]) -> dict[Case, Question]:
        """Canaries that name their answer: it is required whatever the base says."""
        pairs = [(case.prompt, case.target or "") for case in cases]
        return dict(zip(cases, encode_targets(self.tokenizer, pairs), strict=True))

    def _sampled(
        self, facts: Sequence[FactSpec], new: Sequence[FactSpec], limit: int, seed: int
    ) -> list[FactSpec]:
        """At most `limit` of `facts`: half those whose subjects are closest to new ones, half at random.

        What an edit disturbs first is what has keys close to its own.  Closeness is the cosine of mean
        input embeddings, which costs no forward pass.
        """
        if len(facts) <= limit:
            return list(facts)
        closest: set[str] = set()
        if new:
            near = self._closeness(facts, new)
            order = sorted(zip(near, [fact.id for fact in facts], strict=True), reverse=True)
            closest = {id for _, id in order[: limit // 2]}
        rest = [fact for fact in facts if fact.id not in closest]
        drawn = {fact.id for fact in _drawn(rest, limit - len(closest), seed)}
        return [fact for fact in facts if fact.id in closest or fact.id in drawn]

    def _closeness(self, facts: Sequence[FactSpec], new: Sequence[FactSpec]) -> list[float]:
        theirs, ours = self._embedded(facts), self._embedded(new)
        chunks = torch.split(theirs, 4096)
        return [value for rows in chunks for value in (rows @ ours.T).amax(1).tolist()]

    def _embedded(self, facts: Sequence[FactSpec]) -> Tensor:
        """Mean input embedding of every subject, normalised: (n, d)."""
        table = self.model.get_input_embeddings().weight
        rows = self.tokenizer([fact.subject for fact in facts], add_special_tokens=False)["input_ids"]
        means = [table[torch.tensor(row, device=table.device)].float().mean(0) for row in rows]
        return torch.nn.functional.normalize(torch.stack(means), dim=1)


def _restated(fact: FactSpec) -> list[tuple[str, str]]:
    """(prompt, answer) of everything besides the fact's own prompt that states it."""
    return [
        *((paraphrase, fact.target) for paraphrase in fact.paraphrases),
        *((case.prompt, case.target or "") for case in fact.reversed),
    ]


def _drawn(facts: Sequence[FactSpec], count: int, seed: int) -> list[FactSpec]:
    """`count` of `facts`, the same ones whatever order or company they come in."""

    def lot(fact: FactSpec) -> bytes:
        return hashlib.sha256(f"{seed}\0{fact.id}".encode()).digest()

    return sorted(facts, key=lot)[:count]
