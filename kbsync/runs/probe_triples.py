"""Which other facts may judge a fact: reliable ones.

A neighbour must be answered as the base answers it.  If that answer is a guess, a small change of the weights
changes it, and unrelated facts would be blamed.  So questions are asked only about what the ledger wants or, if the
ledger does not watch it, about what the base states.  What the ledger doubts (held, in quarantine, retracted) is not
used, nor is a subject whose prompt is also another watched subject's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from connectors.observations import Triple
from editing.requests import prompt_key, render
from kbsync.admission.meaning import means
from kbsync.admission.policy import Policy
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Catalogue
from state.ledger import Snapshot
from state.records import Fact, Probe, StoredEntity

ProbeTripleKind = Literal["neighbour", "same_subject"]


@dataclass(frozen=True, slots=True)
class ProbeTriple:
    """A triple that could judge a fact, as a question."""

    kind: ProbeTripleKind
    subject: str
    relation: str
    object: str
    template: str
    label: str
    """The subject's."""
    target: str

    @property
    def prompt(self) -> str:
        return render(self.template, self.label)

    def probe(self) -> Probe:
        return Probe(self.kind, self.prompt, self.target)


States = Callable[[Sequence[ProbeTriple]], Sequence[bool]]
"""Asks the base, for each triple, whether it states it unedited."""


def nothing_known(triples: Sequence[ProbeTriple]) -> Sequence[bool]:
    """For a base that cannot be asked: no triple counts as known."""
    return [False] * len(triples)


def probe_triple(
    kind: ProbeTripleKind, triple: Triple, catalogue: Catalogue, policy: Policy
) -> ProbeTriple | None:
    """The triple as a question; None if it cannot be asked (no label, a flawed one, no template)."""
    relation = catalogue.get(triple.relation)
    subject, target = triple.subject.label, triple.object.label
    if relation is None or subject is None or target is None:
        return None
    subject, target = labels.clean(subject), labels.clean(target)
    if any(labels.flaw(text, policy.label_max, policy.label_scripts) for text in (subject, target)):
        return None
    return ProbeTriple(
        kind, triple.subject.id, triple.relation, triple.object.id, relation.template, subject, target
    )


def sort_out(
    tx: Snapshot, asked: Iterable[ProbeTriple]
) -> tuple[frozenset[ProbeTriple], tuple[ProbeTriple, ...]]:
    """Those of `asked` that the ledger wants, and those that it does not watch, for which the base decides."""
    distinct = list(dict.fromkeys(asked))
    pairs = {(one.subject, one.relation) for one in distinct}
    slots, facts = tx.slots(pairs), tx.facts_of(pairs)
    entities = tx.entities({one.object for one in distinct} | {f.object for fs in facts.values() for f in fs})
    prompts = tx.slots_with_prompt_keys(prompt_key(one.prompt) for one in distinct)
    vouched: set[ProbeTriple] = set()
    unwatched: list[ProbeTriple] = []
    for one in distinct:
        pair = (one.subject, one.relation)
        if any((s.subject, s.relation) != pair for s in prompts.get(prompt_key(one.prompt), ())):
            continue
        if pair not in slots and pair not in facts:
            unwatched.append(one)
        elif _is_wanted(one, facts.get(pair, ()), entities):
            vouched.add(one)
    return frozenset(vouched), tuple(unwatched)


def _is_wanted(one: ProbeTriple, facts: Iterable[Fact], entities: dict[str, StoredEntity]) -> bool:
    known = {one.object: StoredEntity(one.object, one.target), **entities}
    return any(fact.status == "wanted" and means(fact, one.object, known) for fact in facts)
