"""Whether a base can answer a kind of question at all: the same questions about facts that it states unedited.

A candidate cannot be judged by questions that its base answers no better than by chance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from editing.evaluation.sampling import drawn
from editing.folding import fold
from editing.spec import BaseAnswer, FactSpec

CONTEXT_TOKENS = 50
PASSAGES = (
    "The morning was clear, and people were on their way to work. A bus stopped at the corner, two children "
    "crossed the street with their bags, and the baker put the first loaves into the window. It was going to be an "
    "ordinary day.",
    "In the afternoon it began to rain. Those who had no umbrella waited under the roof of the station and talked "
    "about the weather, about the price of bread, and about the film that everybody had seen over the weekend.",
    "The library had been closed for repairs since the spring. New shelves were built along the walls, the old lamps "
    "were replaced, and a small room beside the entrance was turned into a place where children could read.",
    "Nobody remembered when the market had moved to the square. Farmers came early with apples, onions and cheese, "
    "and by noon most of it was sold. What was left over went to the kitchen of the school next door.",
)
"""Ordinary text for a base without held-out text."""


def ordinary_texts(tokenizer: Any, windows: Sequence[Tensor]) -> tuple[str, ...]:
    """Texts of about `CONTEXT_TOKENS` tokens: the beginnings of held-out `windows` ((1, T) token ids each), or
    of `PASSAGES` if there are none."""
    rows = [window[0].tolist() for window in windows] or tokenizer(list(PASSAGES), add_special_tokens=False)[
        "input_ids"
    ]
    texts = (tokenizer.decode(row[:CONTEXT_TOKENS], skip_special_tokens=True) for row in rows)
    # A row may begin and end within a word; in scripts without spaces there is nothing to cut at.
    whole = (" ".join(text.split()[1 if windows else 0 : -1]) or text for text in texts)
    return tuple(dict.fromkeys(whole))


@dataclass(frozen=True, slots=True)
class Contexts:
    """What the robustness measures put before a prompt."""

    texts: Sequence[str]
    statements: Mapping[str, Sequence[str]]
    """Fact id → sentences about its subject."""

    def of(self, facts: Sequence[FactSpec], known: Mapping[str, BaseAnswer]) -> list[FactSpec]:
        """`facts` with their contexts, and with an object that is wrong: the base's answer if none is known."""
        return [
            replace(
                fact,
                contexts=(self.texts[_lot(fact) % len(self.texts)],),
                about_subject=tuple(self.statements.get(fact.id, ())),
                previous=fact.previous or _other_answer(fact, known[fact.id]),
            )
            for fact in facts
        ]


def stated_by_base(
    facts: Sequence[FactSpec], known: Mapping[str, BaseAnswer], count: int, seed: int
) -> list[FactSpec]:
    """At most `count` facts that the base states unedited, each with another object as the replaced one.

    These are the facts it knows, and, where it states what an edited fact replaces, that fact the other way round.
    """
    objects: dict[str, list[str]] = {}
    for fact in facts:
        objects.setdefault(fact.prompt, []).append(fact.target)
    found = []
    for fact in drawn(facts, len(facts), seed):
        if known[fact.id].known:
            found.append(replace(fact, previous=_another(fact, objects[fact.prompt])))
        elif fact.previous and fold(known[fact.id].answer) in map(
            fold, (fact.previous, *fact.previous_names)
        ):
            found.append(
                replace(
                    fact,
                    target=fact.previous,
                    target_names=fact.previous_names,
                    previous=fact.target,
                    previous_names=fact.target_names,
                )
            )
        if len(found) == count:
            break
    return found


def _other_answer(fact: FactSpec, base: BaseAnswer) -> str | None:
    return None if fold(base.answer) in map(fold, (fact.target, *fact.target_names, "")) else base.answer


def _another(fact: FactSpec, objects: Sequence[str]) -> str | None:
    """Another object of the same relation, or None if there is none."""
    own = {fold(name) for name in (fact.target, *fact.target_names)}
    others = sorted({name for name in objects if fold(name) not in own})
    if not others:
        return None
    return others[_lot(fact) % len(others)]


def _lot(fact: FactSpec) -> int:
    """A number that depends on the fact only."""
    return int.from_bytes(hashlib.sha256(fact.id.encode()).digest()[:4])
