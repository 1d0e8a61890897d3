"""Free answers: greedy text up to its natural end, and whether it states a fact.

Teacher forcing and cutting a text at the object's length both hide failures (arXiv 2502.11177), and a text that only
contains the object somewhere may say the opposite ("Rome, no, Paris").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from editing.evaluation.scoring import answer_ends, before_end, continue_greedily, encode_prompts
from editing.evaluation.thinking import after_thought
from editing.evaluation.words import FoldedText, sentence_end
from editing.folding import fold
from editing.model.passes import Ids
from editing.progress import Tick, uncounted

ANSWER_TOKENS = 32
"""An answer that has not ended by then is cut."""


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


def states(answer: str, question: FreeQuestion) -> bool:
    """Whether `answer` names the object (or an alias) first, not the old one, and no other subject in place of its own.

    Names are compared as whole words, ignoring case, width and white space.  What is part of a longer name of the
    object ("York" in "New York") or of the subject is not a name of its own.  Another subject may be named if the
    answer names its own as well, or after the object ("Athens, in Greece").
    """
    text = FoldedText(answer)
    own = [span for name in question.names for span in text.spans(name)]
    if not own:
        return False
    first = min(start for start, _ in own)
    subject = text.spans(question.subject)
    covered = [*own, *subject]

    def named(name: str) -> list[int]:
        """Where `name` begins, other than within another name."""
        spans = text.spans(name)
        return [start for start, end in spans if not any(a <= start and end <= b for a, b in covered)]

    if any(named(name) for name in question.old_names):
        return False
    rivals = [*question.other_objects, *(() if subject else question.other_subjects)]
    return all(start > first for name in rivals for start in named(name))


def others(names: Iterable[str], prompt: str, *own: str) -> tuple[str, ...]:
    """`names` without those that `prompt` names and those that fold to one of `own`."""
    taken, asked = {fold(name) for name in own}, FoldedText(prompt)
    return tuple(name for name in dict.fromkeys(names) if fold(name) not in taken and not asked.spans(name))
