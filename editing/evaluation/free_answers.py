"""Free answers: greedy text up to its natural end, and whether it states a fact.

Teacher forcing and cutting a text at the object's length both hide failures (arXiv 2502.11177), and a text that only
contains the object somewhere may say the opposite ("Rome, no, Paris").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import regex
import torch

from editing.evaluation.scoring import answer_ends, before_end, continue_greedily, encode_prompts
from editing.evaluation.thinking import after_thought
from editing.evaluation.words import FoldedText, sentence_end
from editing.folding import fold
from editing.model.passes import Ids
from editing.progress import Tick, uncounted
from editing.requests import PLACEHOLDER
from editing.undecided import FreeVerdict

ANSWER_TOKENS = 32
"""An answer that has not ended by then is cut."""

Span = tuple[int, int]
_NAME = regex.compile(r"\b\p{Lu}|[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Arabic}\p{Hebrew}\p{Devanagari}]")


@dataclass(frozen=True, slots=True)
class FreeQuestion:
    """A question, and what an answer to it must name and must not name."""

    prompt: str
    """As the model reads it; a question in a conversation is rendered with the chat template."""
    subject: str
    names: tuple[str, ...]
    """The object and its aliases."""
    old_names: tuple[str, ...] = ()
    """The previous object and its aliases."""
    other_subjects: tuple[str, ...] = ()
    other_objects: tuple[str, ...] = ()
    """Objects of the same relation."""
    subject_names: tuple[str, ...] = ()
    """Aliases of the subject."""
    templates: tuple[str, ...] = ()
    """Sentences with one `{}` in the subject's place that an answer may begin with."""
    thinks: bool = False
    """Whether the conversation lets the model think before it answers."""


@torch.inference_mode()
def free_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    thinking: bool = False,
    tokens: int = ANSWER_TOKENS,
    tick: Tick = uncounted,
) -> list[str]:
    """The greedy answer to each prompt, up to an end token, the end of its first sentence or line, or `tokens`.

    `thinking`: the model may think first; the answer is what follows, and empty if the thought does not end.
    """
    ends = answer_ends(model, tokenizer)

    def spelled(ids: Ids) -> str:
        return str(tokenizer.decode(before_end(ids, ends), skip_special_tokens=True))

    def ended(ids: Ids) -> bool:
        return ids[-1] in ends or sentence_end(spelled(ids)) is not None

    begun: Sequence[Ids | None] = (
        after_thought(model, tokenizer, prompts) if thinking else encode_prompts(tokenizer, prompts)
    )
    rows = continue_greedily(model, [ids for ids in begun if ids is not None], tokens, ended=ended, tick=tick)
    answers = iter(rows)
    return ["" if ids is None else first_sentence(spelled(next(answers))) for ids in begun]


def first_sentence(answer: str) -> str:
    """The first sentence or line of an answer; small models continue after it."""
    text = answer.strip()
    return text[: sentence_end(text)].rstrip()


def judged(answer: str, question: FreeQuestion) -> FreeVerdict:
    """Whether `answer` states the fact, by rules on the names in it.

    right      it names the object or an alias first, neither the old object nor its aliases, and no other subject in
               place of the fact's own
    wrong      it names the old object, another object first, or another subject in place of the fact's own
    undecided  it names nothing that is known, or puts a name that is not known in the subject's place

    Names are compared as whole words; see `FoldedText` for what is ignored.  What is part of a longer name of the
    object ("York" in "New York") or of the subject is not a name of its own.  Another subject may be named if the
    answer names its own as well, or after the object ("Athens, in Greece").
    """
    text = FoldedText(answer)
    subject = [span for name in (question.subject, *question.subject_names) for span in text.spans(name)]
    own = _own_names(text, question, subject)
    covered = [*own, *subject]

    def named(name: str) -> list[int]:
        """Where `name` begins, other than within another name."""
        return [start for start, end in text.spans(name) if not _within((start, end), covered)]

    if any(named(name) for name in question.old_names):
        return "wrong"
    first = min((start for start, _ in own), default=len(answer) + 2)
    rivals = [*question.other_objects, *(() if subject else question.other_subjects)]
    if any(start < first for name in rivals for start in named(name)):
        return "wrong"
    place = _in_subjects_place(answer, question.templates)
    if place and not any(
        FoldedText(place).spans(name) for name in (question.subject, *question.subject_names)
    ):
        known = any(FoldedText(place).spans(name) for name in question.other_subjects)
        return "wrong" if known else "undecided"
    return "right" if own else "undecided"


def states(answer: str, question: FreeQuestion) -> bool:
    """Whether `answer` states the fact by the rules of `judged`; what they leave undecided does not."""
    return judged(answer, question) == "right"


def _own_names(text: FoldedText, question: FreeQuestion, subject: Sequence[Span]) -> list[Span]:
    """Where the object is named.

    A name within the subject's is not the object's ("New York" in "New York City").  If both have the same name
    (Luxembourg), it is the object's at the end of the answer, or the second time.
    """
    own = [span for name in question.names for span in text.spans(name)]
    apart = [span for span in own if not _within(span, subject)]
    same = sorted({span for span in own if span in subject and not _within(span, set(subject) - {span})})
    return [*apart, *(span for n, span in enumerate(same) if n or text.ends_at(span[1]))]


def _within(span: Span, others: Iterable[Span]) -> bool:
    start, end = span
    return any(a <= start and end <= b for a, b in others)


def _in_subjects_place(answer: str, templates: Iterable[str]) -> str:
    """The name that the answer has where one of `templates` has its subject; empty if there is none.

    Only what is written like a name counts: "The capital of the country is" has no other subject.
    """
    for template in templates:
        before, _, after = (" ".join(part.split()) for part in template.partition(PLACEHOLDER))
        if not after or len(f"{before}{after}") < 4:
            continue
        pattern = rf"(?:^|\b){regex.escape(before)}\s*(\S.{{0,60}}?)\s*{regex.escape(after)}\b"
        if not before:
            pattern = rf"^\s*(\S.{{0,60}}?)\s*{regex.escape(after)}\b"
        found = regex.search(pattern, " ".join(answer.split()), regex.IGNORECASE)
        if found and _NAME.search(found[1].removeprefix("The ").removeprefix("It ")):
            return str(found[1])
    return ""


def others(names: Iterable[str], prompt: str, *own: str) -> tuple[str, ...]:
    """`names` without those that `prompt` names and those that fold to one of `own`."""
    taken, asked = {fold(name) for name in own}, FoldedText(prompt)
    return tuple(name for name in dict.fromkeys(names) if fold(name) not in taken and not asked.spans(name))
