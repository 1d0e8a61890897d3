"""Further wordings that a fact is edited with: under other names of its subject, and the other way round.

Both are edits of their own (an edited association says nothing about its opposite direction, as the MEMIT
paper notes in its discussion), so the no-conflict constraint (Eqn. 5) holds for them as well.  But nobody
asked for them: where one would contradict anything, it is left out with a reason, and the fact itself is
edited all the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from editing.folding import fold
from editing.requests import SLOT, prompt_key, render
from editing.spec import Case, FactSpec, Wording
from kbsync.catalogue.relations import Relation
from state.records import Fact, Probe

Slot = tuple[str, str]
"""(subject, relation)."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A further wording that no fact is edited with, and why."""

    fact: int
    prompt: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the ledger says of the prompts and objects of further wordings."""

    watched: Mapping[str, frozenset[str]]
    """Prompt key → subjects whose slots make that prompt."""
    holders: Mapping[str, frozenset[Slot]]
    """Object → slots in which it is wanted, held or doubted."""


def renamed(fact: Fact, aliases: Iterable[Probe], count: int) -> tuple[Wording, ...]:
    """The fact under the first `count` other names of its subject, as its alias probes have them."""
    before, _, after = fact.template.partition(SLOT)
    names = (probe.prompt[len(before) : len(probe.prompt) - len(after)] for probe in aliases)
    return tuple(Wording(fact.template, name, fact.target) for name in names)[:count]


def reversed_fact(fact: Fact, relation: Relation) -> tuple[tuple[Wording, ...], tuple[Case, ...]]:
    """(the edit, the questions) of the fact the other way round; both empty unless the relation asks for it."""
    if not relation.edit_inverse or not relation.inverse:
        return (), ()
    edit = Wording(relation.inverse[0], fact.target, fact.subject_label)
    asked = (Case(render(template, fact.target), fact.subject_label) for template in relation.inverse)
    return (edit,), tuple(asked)


def without_conflicts(
    facts: Sequence[Fact], specs: Sequence[FactSpec], ledger: Ledger
) -> tuple[tuple[FactSpec, ...], tuple[Skipped, ...]]:
    """`specs` (of `facts`, in their order) without further wordings that contradict something."""
    answers: dict[str, set[str]] = defaultdict(set)
    for spec in specs:
        for said in spec.wordings():
            answers[_key(said)].add(fold(said.target))
    settled, skipped = [], []
    for fact, spec in zip(facts, specs, strict=True):
        reasons = {said: _against(fact, said, answers[_key(said)], ledger) for said in spec.further}
        kept = tuple(said for said in spec.further if reasons[said] is None)
        both_ways = any(_is_reversed(fact, said) for said in kept)
        settled.append(replace(spec, further=kept, reversed=spec.reversed if both_ways else ()))
        skipped += [
            Skipped(fact.id, render(said.prompt, said.subject), reason)
            for said, reason in reasons.items()
            if reason is not None
        ]
    return tuple(settled), tuple(skipped)


def _against(fact: Fact, said: Wording, answers: set[str], ledger: Ledger) -> str | None:
    """What speaks against editing `fact` with `said`; None: nothing."""
    if _is_reversed(fact, said):
        others = sorted(
            subject
            for subject, relation in ledger.holders.get(fact.object, ())
            if relation == fact.relation and subject != fact.subject
        )
        if others:
            return f"{fact.object} is also the object of {', '.join(others[:3])}: no single answer"
    if others := sorted(ledger.watched.get(_key(said), frozenset()) - {fact.subject}):
        return f"{', '.join(others[:3])} makes the same prompt"
    if len(answers) > 1:
        return f"the view has other answers to this prompt: {', '.join(sorted(answers))}"
    return None


def _is_reversed(fact: Fact, said: Wording) -> bool:
    return (said.subject, said.target) == (fact.target, fact.subject_label)


def _key(said: Wording) -> str:
    return prompt_key(render(said.prompt, said.subject))
