"""What an edited model is asked in a trial, and the answers counted by fact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from editing.calibration.counterfactuals import Counterfactual
from editing.calibration.judgement import Counts, Scored
from editing.calibration.statements import WordedTriple
from editing.evaluation.conversation import chat_answers
from editing.evaluation.free_answers import FreeQuestion, states
from editing.evaluation.outcome import questions
from editing.evaluation.published import CounterFactCase, CounterFactScores, PromptAnswer, counterfact
from editing.evaluation.scoring import Score, encode_targets
from editing.evaluation.shared_prompts import score_by_prompt
from editing.model.chat import asked, opening, statement
from editing.progress import Tick, uncounted
from editing.requests import PLACEHOLDER, EditRequest, render


@dataclass(frozen=True)
class Questions:
    """All questions about one set of edits."""

    edits: Sequence[Counterfactual]
    untouched: Sequence[WordedTriple]
    reserved: int = 1
    """Paraphrases that are left to be edited with, and never asked."""

    def pairs(self) -> list[PromptAnswer]:
        """Every distinct (prompt, answer) to score."""
        records = [edit.record(self.reserved) for edit in self.edits]
        kept = [one for edit in self.edits for one in (*edit.neighbours, *edit.judged)] + [*self.untouched]
        return list(
            dict.fromkeys([*questions(records, probes=True), *((one.prompt, one.object) for one in kept)])
        )


@dataclass(frozen=True)
class Answers:
    """The answers of one model."""

    asked: Questions
    found: dict[PromptAnswer, Score]
    said: Counts

    def published(self) -> CounterFactScores:
        """ES, PS, NS and S."""
        return counterfact([self._case(edit) for edit in self.asked.edits], self.found)

    def scored(self) -> tuple[Scored, ...]:
        """ES, PS and NS by fact."""
        each = [counterfact([self._case(edit)], self.found) for edit in self.asked.edits]
        return tuple((one.efficacy or 0.0, one.paraphrase, one.neighbourhood) for one in each)

    def efficacy(self) -> Counts:
        return tuple(
            (int(self.found[edit.statement.prompt, edit.object].strict), 1) for edit in self.asked.edits
        )

    def probability(self) -> tuple[float, ...]:
        return tuple(self.found[edit.statement.prompt, edit.object].probability for edit in self.asked.edits)

    def paraphrase(self) -> Counts:
        return tuple(
            self._right([(text, edit.object) for text in edit.statement.paraphrases[self.asked.reserved :]])
            for edit in self.asked.edits
        )

    def paraphrase_probability(self) -> tuple[float, ...]:
        return tuple(
            self.found[text, edit.object].probability
            for edit in self.asked.edits
            for text in edit.statement.paraphrases[self.asked.reserved :]
        )

    def neighbourhood(self) -> Counts:
        return tuple(self._kept(edit.neighbours) for edit in self.asked.edits)

    def same_subject(self) -> Counts:
        return tuple(self._kept(edit.judged) for edit in self.asked.edits)

    def untouched(self) -> Counts:
        return tuple(self._kept([one]) for one in self.asked.untouched)

    def _case(self, edit: Counterfactual) -> CounterFactCase:
        record = edit.record(self.asked.reserved)
        return CounterFactCase(
            record.request.rendered,
            new=record.request.target,
            old=edit.statement.object,
            paraphrases=tuple(record.paraphrases),
            neighbours=tuple(record.neighbours),
        )

    def _kept(self, statements: Sequence[WordedTriple]) -> tuple[int, int]:
        return self._right([(one.prompt, one.object) for one in statements])

    def _right(self, pairs: Sequence[PromptAnswer]) -> tuple[int, int]:
        return sum(self.found[pair].strict for pair in pairs), len(pairs)


def ask(model: Any, tokenizer: Any, about: Questions, *, tick: Tick = uncounted) -> Answers:
    """The answers of `model`; conversations only if the tokenizer has a chat template."""
    pairs = about.pairs()
    found = score_by_prompt(model, encode_targets(tokenizer, pairs), tick=tick)
    return Answers(about, dict(zip(pairs, found, strict=True)), _conversations(model, tokenizer, about.edits))


def _conversations(model: Any, tokenizer: Any, edits: Sequence[Counterfactual]) -> Counts:
    """Whether each fact's question is answered as the edit states; empty without a template or questions."""
    talkative = [edit for edit in edits if edit.statement.question]
    if opening(tokenizer) is None or not talkative:
        return ()
    asked_of = [render(edit.statement.question, edit.statement.subject) for edit in talkative]
    texts = chat_answers(model, tokenizer, asked_of)
    return tuple(
        (int(states(text, _free(edit, question))), 1)
        for edit, question, text in zip(talkative, asked_of, texts, strict=True)
    )


def _free(edit: Counterfactual, question: str) -> FreeQuestion:
    subject = edit.statement.subject
    return FreeQuestion(question, subject, names=(edit.object,), old_names=(edit.statement.object,))


def requests_of(tokenizer: Any, edit: Counterfactual, *, variants: int, chat: bool) -> list[EditRequest]:
    """Everything one fact is edited with: its wordings and, through the chat template, its question."""
    wordings = min(variants, len(edit.statement.templates) - 1)
    found = [edit.request(number) for number in range(wordings + 1)]
    if chat and edit.statement.question and opening(tokenizer) is not None:
        prompt = asked(tokenizer, edit.statement.question)
        if prompt.count(PLACEHOLDER) == 1:
            own = edit.request()
            found.append(
                EditRequest(f"{edit.id} · chat", prompt, own.subject, statement(own.rendered, own.target))
            )
    return found
