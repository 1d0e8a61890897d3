"""Sentences about the other relations of an edited subject, whose meaning an edit should not change.

The catalogue's templates are enough: the engine needs the keys of the sentences, not their answers.  A relation that
the view edits for the same subject is left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from editing.spec import FactSpec
from kbsync.catalogue.relations import Catalogue
from state.records import Fact


def with_kept(specs: Sequence[FactSpec], facts: Sequence[Fact], catalogue: Catalogue) -> list[FactSpec]:
    """`specs` (of `facts`, in their order) with the sentences that each edit should leave alone."""
    edited: dict[str, set[str]] = defaultdict(set)
    for spec, fact in zip(specs, facts, strict=True):
        if not spec.known:
            edited[fact.subject].add(fact.relation)
    found = []
    for spec, fact in zip(specs, facts, strict=True):
        beside = () if spec.known or fact.relation not in catalogue else catalogue.others(fact.relation)
        others = [relation for relation in beside if relation.id not in edited[fact.subject]]
        found.append(
            replace(
                spec,
                kept=tuple(template for other in others for template in other.bystanders),
                kept_questions=tuple(question for other in others for question in other.questions[:1]),
            )
        )
    return found
