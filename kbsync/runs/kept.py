"""Sentences whose meaning the edits of a view should not change.

They are about the other relations of edited subjects, and about other subjects of the edited relations whose facts
the base states.  The catalogue's templates are enough: the engine needs the keys of the sentences, not their answers.
A relation that the view edits for a subject is left out for that subject.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from editing.spec import FactSpec
from kbsync.catalogue.relations import Catalogue, Relation
from state.records import Fact

MOST_KNOWN = 500
"""Maximum number of facts stated by the base that are kept."""


def with_kept(specs: Sequence[FactSpec], facts: Sequence[Fact], catalogue: Catalogue) -> list[FactSpec]:
    """`specs` (of `facts`, in their order) with the sentences that should be left alone."""
    edited: dict[str, set[str]] = defaultdict(set)
    for spec, fact in zip(specs, facts, strict=True):
        if not spec.known:
            edited[fact.subject].add(fact.relation)
    changing = set().union(*edited.values())
    stated = [
        fact for spec, fact in zip(specs, facts, strict=True) if spec.known and fact.relation in changing
    ]
    beside = {fact.id for fact in sorted(stated, key=_lot)[:MOST_KNOWN]}
    found = []
    for spec, fact in zip(specs, facts, strict=True):
        kept: Iterable[Relation] = ()
        if fact.relation in catalogue and fact.id in beside:
            kept = (catalogue[fact.relation],)
        elif fact.relation in catalogue and not spec.known:
            kept = (r for r in catalogue.others(fact.relation) if r.id not in edited[fact.subject])
        relations = tuple(kept)
        found.append(
            replace(
                spec,
                kept=tuple(template for relation in relations for template in relation.bystanders),
                kept_questions=tuple(
                    question for relation in relations for question in relation.questions[:1]
                ),
            )
        )
    return found


def _lot(fact: Fact) -> bytes:
    """An order that does not depend on the other facts."""
    return hashlib.sha256(fact.key.encode()).digest()
