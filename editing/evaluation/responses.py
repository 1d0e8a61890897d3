"""The answers of one model, kept for later rounds, since a model's answers do not change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from editing.evaluation.free_answers import FreeQuestion, free_answers, judged
from editing.evaluation.generation import GeneratedText, generate
from editing.evaluation.locality import NextToken, divergence, next_token
from editing.evaluation.question_set import FactQuestions, ForcedChoice, QuestionSet
from editing.evaluation.scoring import Question, Score, cut_answer, greedy_answers, score
from editing.evaluation.words import contains
from editing.model.passes import Ids
from editing.progress import Tick, uncounted
from editing.spec import Case
from editing.undecided import RuledAnswer

EXPLAINED = 500
"""Maximum number of probes per model whose answers are generated for display."""

DESCRIBED = 200
"""Maximum number of new facts of which every question is reported, also those that were answered as expected."""


@dataclass
class Responses:
    """The answers of one model; every method given `model` requires that it currently has that model's weights."""

    scores: dict[Question, Score] = field(default_factory=dict)
    greedy: dict[Ids, Ids] = field(default_factory=dict)
    """Prompt → greedy continuation."""
    texts: dict[str, GeneratedText] = field(default_factory=dict)
    """Prompt → generated text."""
    free: dict[str, str] = field(default_factory=dict)
    """Prompt → free answer."""
    readings: dict[str, float | None] = field(default_factory=dict)
    """Measure → the figure computed from the model."""
    base: Responses | None = None
    """The answers of the unedited base, which this model is compared with; None for the base itself."""
    next_tokens: dict[Ids, NextToken] = field(default_factory=dict)
    """Prompt → the distribution of the next token, of the base only."""
    divergences: dict[Ids, float] = field(default_factory=dict)
    """Prompt → KL(base ‖ model) of the next token, for prompts that the base was scored on."""
    _ruled: dict[int, tuple[FreeQuestion, RuledAnswer]] = field(default_factory=dict)
    """By identity: a question has all names of its view, so that to compare two takes as long as to judge one."""

    def score(self, model: Any, questions: Iterable[Question], tick: Tick = uncounted) -> None:
        """Score what has not been scored yet."""
        missing = [question for question in dict.fromkeys(questions) if question not in self.scores]
        found = score(model, missing, observe=self._observe, tick=tick)
        self.scores.update(zip(missing, found, strict=True))

    def compare(self, model: Any, questions: Iterable[Question], tick: Tick = uncounted) -> None:
        """Score `questions`, also again where that is needed for `divergence`: the base was scored later."""
        questions = dict.fromkeys(questions)
        compared = self.next_tokens if self.base is None else self.divergences
        again = [question for question in questions if question.prompt not in compared]
        found = score(model, again, observe=self._observe, tick=tick)
        self.scores.update(zip(again, found, strict=True))

    def divergence(self, prompt: Ids) -> float:
        """KL(base ‖ model) of the token after `prompt`, in nats; see `locality` for what is compared."""
        return 0.0 if self.base is None else self.divergences[prompt]

    def _observe(self, prompt: Ids, logits: Tensor) -> None:
        """Keep what is needed to compare the distribution of the next token."""
        if self.base is None:
            if prompt not in self.next_tokens:
                self.next_tokens[prompt] = next_token(logits)
        elif prompt not in self.divergences and prompt in self.base.next_tokens:
            self.divergences[prompt] = divergence(self.base.next_tokens[prompt], logits)

    def answer(self, model: Any, tokenizer: Any, prompts: Iterable[Ids], tick: Tick = uncounted) -> None:
        """Continue greedily what has not been continued yet."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.greedy]
        rows = greedy_answers(model, tokenizer, missing, tick=tick)
        self.greedy.update(zip(missing, rows, strict=True))

    def respond(self, model: Any, tokenizer: Any, asked: QuestionSet, tick: Tick = uncounted) -> None:
        """Answer the whole question set."""
        self.score(model, asked.questions(), tick)
        self.compare(model, asked.untouched, tick)
        own = [fact.own for fact in asked.facts.values()]
        self.answer(model, tokenizer, [one.prompt for one in own if not self.states(one)], tick)
        self.speak(model, tokenizer, asked, tick)
        for thinking in (False, True):
            prompts = asked.free_prompts(thinking=thinking)
            self.answer_freely(model, tokenizer, prompts, thinking=thinking, tick=tick)

    def answer_freely(
        self,
        model: Any,
        tokenizer: Any,
        prompts: Iterable[str],
        *,
        thinking: bool = False,
        tick: Tick = uncounted,
    ) -> None:
        """Answer freely what has not been answered yet."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.free]
        answers = free_answers(model, tokenizer, missing, thinking=thinking, tick=tick)
        self.free.update(zip(missing, answers, strict=True))

    def speak(self, model: Any, tokenizer: Any, asked: QuestionSet, tick: Tick = uncounted) -> None:
        """What a candidate's figures are compared with on the base: texts, readings and untouched prompts, and on the
        base also what the measures ask of it."""
        if self.base is None:
            self.score(model, (one for fact in asked.ability.values() for one in fact.questions()), tick)
        self.compare(model, asked.untouched, tick)
        missing = [prompt for prompt in asked.texts if prompt not in self.texts]
        texts = generate(model, tokenizer, missing, seed=asked.seed, tick=tick)
        self.texts.update(zip(missing, texts, strict=True))
        for name, read in asked.readings.items():
            if self.readings.get(name) is None:  # or the questions asked so far had nothing to read it from
                self.readings[name] = read(model, tokenizer, asked, tick)
        if self.base is None:
            scored, free = asked.questions_of_base()
            self.score(model, scored, tick)
            for thinking in (False, True):
                prompts = (one.prompt for one in free if one.thinks == thinking)
                self.answer_freely(model, tokenizer, prompts, thinking=thinking, tick=tick)

    def explain(
        self, model: Any, tokenizer: Any, facts: Iterable[FactQuestions], tick: Tick = uncounted
    ) -> None:
        """Continue the facts' probes that are not stated as expected, at most `EXPLAINED` of them.

        The answers are evidence for reviewers: what the model answers instead.
        """
        probes = (probe for fact in facts for _, probe in fact.probes())
        missed = (one.prompt for one in probes if one not in self.scores or not self.states(one))
        self.answer(model, tokenizer, list(dict.fromkeys(missed))[:EXPLAINED], tick)

    def states(self, question: Question) -> bool:
        """Whether every token of the expected answer is the strict argmax."""
        return self.scores[question].strict

    def prefers(self, choice: ForcedChoice) -> bool:
        """Whether the expected answer is likelier than the other one."""
        return self.scores[choice.expected].logprob > self.scores[choice.other].logprob

    def mentions(self, case: Case) -> bool:
        """Whether the text generated after the prompt names the expected object before it ends."""
        return contains(self.texts[case.prompt].answer, case.target or "")

    def ruled(self, question: FreeQuestion) -> RuledAnswer:
        """The free answer to `question`, and what the rules on names find; found once for each question."""
        kept = self._ruled.get(id(question))
        if kept is None or kept[0] is not question:
            text = self.free[question.prompt]
            kept = self._ruled[id(question)] = question, RuledAnswer(text, judged(text, question))
        return kept[1]

    def says(self, question: FreeQuestion) -> bool:
        """Whether the free answer to `question` states the fact."""
        return self.ruled(question).verdict == "right"

    def shown(self, tokenizer: Any, question: Question, target: str) -> str | None:
        """As `text`; None for a question that was neither scored as stated nor continued."""
        stated = question in self.scores and self.states(question)
        return self.text(tokenizer, question, target) if stated or question.prompt in self.greedy else None

    def text(self, tokenizer: Any, question: Question, target: str) -> str:
        """The answer to `question` for display: `target` if the model states it."""
        if question in self.scores and self.states(question):
            return target
        return cut_answer(tokenizer, self.greedy[question.prompt], target)[0]
