"""The consequences of a view's facts, from what the ledger has."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence

from editing.consequence import Consequence
from editing.folding import fold
from editing.requests import prompt_key, render
from editing.spec import FactSpec
from kbsync.application import Application
from kbsync.catalogue.relations import Catalogue
from kbsync.runs.consequences import (
    ONLY_A_NAME,
    Derivation,
    LedgerClaims,
    Premise,
    by_fact,
    chosen,
    consistent,
    derivations,
)
from state import Snapshot
from state.records import Fact, Probe

BASE_QUESTIONS = 256
"""Maximum number of facts that the base states whose consequences are derived; the worker asks a sample of them."""


def consequences_of(
    app: Application,
    tx: Snapshot,
    facts: Sequence[Fact],
    specs: Sequence[FactSpec],
    probes: Mapping[int, Sequence[Probe]],
) -> dict[str, tuple[Consequence, ...]]:
    """Id of each fact that anything follows from → what follows.

    `specs` are those of `facts`, in their order; `probes` are stored with the facts, by id.  Consequences of the new
    facts are derived, and of a sample of the known ones; of all edited ones if they are to be edited.
    """
    plan = app.settings.plan
    if plan.consequences == "off":
        return {}
    in_live = {int(spec.id) for spec in specs if spec.in_live}
    known = [fact for fact, spec in zip(facts, specs, strict=True) if spec.known]
    edited = [fact for fact, spec in zip(facts, specs, strict=True) if not spec.known]
    edited.sort(key=lambda fact: fact.id in in_live)  # what follows from several is derived for a new one
    new = {fact.id for fact in edited if fact.id not in in_live}
    about = {fact.id for fact in edited} if plan.consequences == "edit" else new
    if not about:
        return {}
    unaided = {fact.id for fact in sorted(known, key=_lot)[:BASE_QUESTIONS]}
    stated = [Premise.of(fact) for fact in (*edited, *known)]
    stated += _beyond_the_ledger(tx, [fact for fact in edited if fact.id in about], probes, app.catalogue)
    of_known = {str(fact.id) for fact in known}
    derived = [
        one
        for one in derivations(stated, about | unaided, app.catalogue)
        if one.fact in about or of_known.issuperset(one.consequence.parents)
    ]
    claims = _claims(app, tx, derived)
    prompts = {prompt_key(render(one.prompt, one.subject)) for spec in specs for one in spec.wordings()}
    found = chosen(consistent(derived, stated, prompts, claims), plan.consequence_questions)
    names = {id: one.aliases for id, one in tx.entities({one.answer for one in found}).items()}
    return by_fact(found, names)


def _beyond_the_ledger(
    tx: Snapshot, facts: Sequence[Fact], probes: Mapping[int, Sequence[Probe]], catalogue: Catalogue
) -> Iterator[Premise]:
    """What the base states about the facts' subjects in slots that the ledger does not watch.

    A slot of the ledger counts as the view has it, or not at all.
    """
    found: dict[tuple[str, str], Premise] = {}
    for fact in facts:
        relations = [r for r in catalogue.values() if r.object_phrase or r.subject_phrase]
        prompts = {render(relation.template, fact.subject_label): relation.id for relation in relations}
        for probe in probes.get(fact.id, ()):
            relation = prompts.get(probe.prompt)
            if probe.kind == "same_subject" and relation is not None:
                one = Premise(
                    fact.subject,
                    relation,
                    f"{ONLY_A_NAME}{fold(probe.target)}",
                    fact.subject_label,
                    probe.target,
                )
                found.setdefault((one.subject, one.relation), one)
    taken = {*tx.slots(found), *tx.facts_of(found)}
    yield from (one for slot, one in found.items() if slot not in taken)


def _claims(app: Application, tx: Snapshot, derived: Collection[Derivation]) -> LedgerClaims:
    prompts = tx.slots_with_prompt_keys(prompt_key(one.consequence.rendered) for one in derived)
    policy = app.settings.policy
    denied = policy.deny_subjects | policy.deny_objects
    return LedgerClaims(
        watched={key: frozenset((s.subject, s.relation) for s in slots) for key, slots in prompts.items()},
        holders=tx.holders_of_objects({one.sole.object for one in derived if one.sole is not None}),
        slots=tx.facts_of({one.slot for one in derived if one.slot is not None}),
        denied=denied | frozenset(tx.heirs(denied)),
    )


def _lot(fact: Fact) -> bytes:
    """An order that does not depend on the other facts."""
    return hashlib.sha256(fact.key.encode()).digest()
