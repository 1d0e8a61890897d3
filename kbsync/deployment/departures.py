"""Where a served answer departs from the one that was judged, and whether rounding explains it: pure.

Rounding moves logits a little, so it can only turn an answer where two tokens were nearly as likely.  By how much the
judged token trails at the first token that differs is read from the server's own log-probabilities: to put it there,
rounding must have moved the difference of the two logits by at least that much, and by the judged lead besides, where
the report says what it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from editing.folding import fold
from editing.secret_probes import certain_lead
from kbsync.deployment.exam_sample import ExamQuestion

Comparison = Literal["as judged", "rounding", "unexplained"]

_SIGNIFICANT = 8
"""Bits of a bf16 number, whose rounding is the coarsest that was measured."""
_STEPS = 4.0
"""A quantised weight has the steps of the largest in its group, which is some four times a usual one."""
MOST = 2.0
"""Nothing is called rounding by which a token becomes more than e² = 7 times as likely as the judged one."""
_SAME = 1e-3
"""Log-probabilities of one token may be printed with so little precision."""


@dataclass(frozen=True, slots=True)
class ServedToken:
    """One token of a served answer."""

    text: str
    logprob: float
    others: Mapping[str, float] = field(default_factory=dict)
    """Log-probabilities of the likeliest tokens, by their text."""

    @property
    def chosen_freely(self) -> bool:
        """Whether it is not the likeliest token: the server samples, or penalises tokens that occurred before."""
        return max(self.others.values(), default=self.logprob) > self.logprob + _SAME


@dataclass(frozen=True, slots=True)
class ServedAnswer:
    """The greedy answer of a server."""

    text: str
    tokens: tuple[ServedToken, ...] = ()
    """Empty if the server gives no log-probabilities."""


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """A question with the answer that was served."""

    question: ExamQuestion
    served: str
    result: Comparison
    gap: float | None = None
    """By how much rounding must have moved a difference of two logits; None if nothing shows it."""


def explained_by(deviations: Mapping[str, float], bits: int) -> float:
    """How far rounding moves the difference of two logits at most, for weights that are served in `bits` bits.

    `deviations`: dtype → standard deviation of a logit, as measured when the version was built.
    """
    coarser = 1.0 if bits > _SIGNIFICANT else _STEPS * 2.0 ** (_SIGNIFICANT - bits)
    return min(MOST, certain_lead(deviations) * coarser)


def compare(
    question: ExamQuestion, answer: ServedAnswer, allowed: float, states: Callable[[str], bool]
) -> ComparedAnswer:
    """The answer beside the judged one; `states`: whether a free answer states the question's fact."""
    if question.judged is None:
        same, gap = states(answer.text), _closest(answer)
    else:
        expected = fold(question.judged)
        same, gap = fold(answer.text).startswith(expected), _departure(answer, expected, question.probability)
    if same:
        return ComparedAnswer(question, answer.text, "as judged")
    explained = gap is not None and gap <= allowed
    return ComparedAnswer(question, answer.text, "rounding" if explained else "unexplained", gap)


def _departure(answer: ServedAnswer, expected: str, probability: float | None) -> float | None:
    """By how much rounding must have moved two logits at the first token that is not that of `expected`."""
    said = ""
    for token in answer.tokens:
        if _leads_to(expected, said + token.text):
            said += token.text
            continue
        judged = {text: logprob for text, logprob in token.others.items() if _goes_on(expected, said, text)}
        if not judged or token.chosen_freely:
            return None
        text = max(judged, key=judged.__getitem__)
        whole = not fold(said) and fold(text).startswith(expected)
        return max(0.0, token.logprob - judged[text]) + (_lead(probability) if whole else 0.0)
    return None


def _goes_on(expected: str, said: str, text: str) -> bool:
    """Whether a token takes the answer on towards `expected`; a space may be a token of its own, before digits."""
    begun = fold(said)
    if text and not text.strip(" "):
        return expected.startswith(f"{begun} ") or not begun
    return fold(said + text) != begun and _leads_to(expected, said + text)


def _leads_to(expected: str, text: str) -> bool:
    """Whether a text is how an answer begins, or begins with it; an incomplete character at its end is left out."""
    begun = fold(text.rstrip("\ufffd"))
    return expected.startswith(begun) or begun.startswith(expected)


def _lead(probability: float | None) -> float:
    """By how much a token of this probability leads the next one, at least; 0 if nothing is known."""
    if probability is None or probability <= 0.5:
        return 0.0
    return math.log(probability / (1 - probability)) if probability < 1 else math.inf


def _closest(answer: ServedAnswer) -> float | None:
    """The smallest lead of a token of the answer: of a text that is not known, only that shows where it could turn."""
    if any(token.chosen_freely for token in answer.tokens):
        return None
    leads = [
        token.logprob - max(rivals)
        for token in answer.tokens
        if (rivals := [value for text, value in token.others.items() if text != token.text])
    ]
    return max(0.0, min(leads)) if leads else None
