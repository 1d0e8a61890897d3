"""Store entities' labels, render slots again when a label changes, and follow merged subjects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from connectors.observations import Poll
from kbsync.admission.effects import renewed
from kbsync.admission.meaning import newest_decision
from kbsync.admission.verdicts import Reason
from kbsync.catalogue.relations import Catalogue
from kbsync.intake.admit import ACTOR, stored_entity
from kbsync.intake.rendering import render_slot, rendered
from kbsync.intake.statements import dump
from state.ledger import Transaction
from state.records import GONE, Fact, FactStatus, Move, NewFact, SlotKey, StoredEntity

_MERGED = "redirected"


def name(tx: Transaction, catalogue: Catalogue, step: Poll) -> set[SlotKey]:
    """Store entities and slots; return the slots that are new or affected by a new label or a death."""
    offered = _entities(step)
    before = tx.entities(offered)
    tx.put_entities(offered.values(), known=before)
    changed = {name for name, old in before.items() if _matters(old, offered[name])}
    pairs = {(observation.subject.id, observation.relation) for observation in step.observations}
    known = tx.slots(pairs) | tx.slots_of_subjects(changed)
    new = [
        render_slot(subject, catalogue[relation].template, relation, offered[subject].label)
        for subject, relation in sorted(pairs - known.keys())
        if relation in catalogue
    ]
    now = {pair: rendered(slot, catalogue, offered.get(slot.subject)) for pair, slot in known.items()}
    moved = {pair: slot for pair, slot in now.items() if slot != known[pair]}
    tx.put_slots([*new, *moved.values()])
    left = tx.slots_with_prompt_keys({known[pair].prompt_key for pair in moved})
    return (
        {(slot.subject, slot.relation) for slot in new}
        | {pair for pair in known if pair[0] in changed}
        | {(slot.subject, slot.relation) for slots in left.values() for slot in slots}
        | tx.slots_of_objects(changed)
    )


def redirect(
    tx: Transaction, source: str, redirects: Iterable[tuple[str, str]], now: datetime
) -> set[SlotKey]:
    """Follow subjects that were merged at the source: wanted facts move to the new subject with their prompt.

    The old subject's slots are closed by an observation without statements, so that they are not
    rivals of the new subject's slots.
    """
    heirs = _heirs(redirects)
    slots = tx.slots_of_subjects(heirs)
    heir_of = {pair: (heirs[pair[0]], pair[1]) for pair in slots}
    _close(tx, source, slots, now)
    known = tx.slots(heir_of.values())
    tx.put_slots(
        replace(slot, subject=heir_of[pair][0], id=None)
        for pair, slot in slots.items()
        if heir_of[pair] not in known
    )
    taken = {pair for pair, facts in tx.facts_of(heir_of.values()).items() if _wanted(facts)}
    moves, puts = [], []
    for pair, facts in sorted(tx.facts_of(slots).items()):
        for fact in _wanted(facts):
            heir = heir_of[pair]
            moves.append(
                Move(fact.id, "superseded", f"merged into {heir[0]}", expect="wanted", reason_code=_MERGED)
            )
            if heir not in taken:
                taken.add(heir)
                puts.append(_inherited(fact, heir[0], "wanted"))
    tx.move_facts(moves, ACTOR)
    tx.put_facts(puts, ACTOR)
    _carry_decisions(tx, heir_of)
    return {*slots, *heir_of.values()}


def _carry_decisions(tx: Transaction, heir_of: Mapping[SlotKey, SlotKey]) -> None:
    """Copy the rejections and bars of a merged subject's values to the subject it was merged into.

    A value that already has a decision there keeps that decision.
    """
    olds, heirs = tx.facts_of(heir_of), tx.facts_of(heir_of.values())
    entities = tx.entities({f.object for facts in (*olds.values(), *heirs.values()) for f in facts})
    for pair, facts in sorted(olds.items()):
        heir = heir_of[pair]
        for fact in facts:
            decision = newest_decision(facts, entities, fact.object)
            if fact.decision != decision or decision not in ("rejected", "barred"):
                continue
            if newest_decision(heirs.get(heir, ()), entities, fact.object) is not None:
                continue
            status: FactStatus = "retracted" if decision == "rejected" else "superseded"
            (carried,) = tx.put_facts([_inherited(fact, heir[0], status)], ACTOR)
            tx.decide(carried.id, decision, f"as for {fact.subject}, which was merged into it", ACTOR)


def keep_merges(tx: Transaction, source: str, step: Poll) -> set[SlotKey]:
    """Store which entities were merged, for the deny-lists; return the slots of what they were merged into."""
    pairs = (*step.redirects, *step.merged_objects)
    ends = _heirs(pairs)
    merged = {old: new for old, new in pairs if old in ends}
    changed = tx.put_merges(merged, _entities(step).keys() - dict(pairs).keys(), source)
    if not changed:
        return set()
    heirs = changed | tx.heirs(changed).keys()
    return {*tx.slots_of_objects(heirs), *tx.slots_of_subjects(heirs)}


def merge_objects(tx: Transaction, merged: Iterable[tuple[str, str]]) -> set[SlotKey]:
    """Copy the rejections and bars of merged objects to what they were merged into; return the slots affected.

    A value about which something was decided keeps that decision, and one that a reviewer took back stays so: a
    source may report a merge more than once.
    """
    heirs = _heirs(merged)
    if not heirs:
        return set()
    slots = tx.facts_of(tx.slots_with_decisions_about(heirs))
    ids = {fact.object for facts in slots.values() for fact in facts} | set(heirs.values())
    entities = tx.entities(ids)
    touched = set()
    for pair, facts in sorted(slots.items()):
        for fact in facts:
            heir = heirs.get(fact.object)
            if heir is None or fact.decision not in ("rejected", "barred"):
                continue
            if newest_decision(facts, entities, fact.object) != fact.decision:
                continue
            if newest_decision(facts, entities, heir) is not None or _was_taken_back(tx, facts, heir):
                continue
            label = entities[heir].label if heir in entities else None
            status: FactStatus = "retracted" if fact.decision == "rejected" else "superseded"
            reason = Reason(_MERGED, f"{fact.object} was merged into {heir}")
            value = replace(renewed(fact, reason), object=heir, target=label or fact.target, status=status)
            (carried,) = tx.put_facts([value], ACTOR)
            tx.decide(carried.id, fact.decision, f"as for {fact.object}, which was merged into it", ACTOR)
            touched.add(pair)
            facts = (*facts, replace(carried, decision=fact.decision))
    return touched


def _was_taken_back(tx: Transaction, facts: Iterable[Fact], object: str) -> bool:
    rows = [fact.id for fact in facts if fact.object == object]
    return any(tx.events(fact=id, kind="fact.reopened") for id in rows)


def _inherited(fact: Fact, subject: str, status: FactStatus) -> NewFact:
    reason = Reason(_MERGED, f"merged from {fact.subject}")
    return replace(renewed(fact, reason), subject=subject, status=status)


def _heirs(redirects: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The final subject of each chain of redirects; cycles are left out."""
    step = dict(redirects)
    ends = {}
    for old in step:
        seen, end = {old}, step[old]
        while end in step and end not in seen:
            seen.add(end)
            end = step[end]
        if end not in seen:
            ends[old] = end
    return ends


def _close(tx: Transaction, source: str, slots: Iterable[SlotKey], now: datetime) -> None:
    nothing = dump(())
    closing = [
        replace(seen, revision=GONE, observed=now, statements=nothing)
        for by_source in tx.current(slots).values()
        for seen in by_source
        if seen.source == source and seen.statements != nothing
    ]
    tx.record(closing, actor=source)


def _wanted(facts: Iterable[Fact]) -> list[Fact]:
    return [fact for fact in facts if fact.status == "wanted"]


def _entities(step: Poll) -> dict[str, StoredEntity]:
    """Every entity that the step names, by id, merged from all its mentions."""
    found: dict[str, StoredEntity] = {}
    objects = (
        statement.object
        for observation in step.observations
        for statement in observation.statements
        if statement.object is not None and statement.kind == "entity"
    )
    for entity in (*objects, *step.labels, *(observation.subject for observation in step.observations)):
        known = found.get(entity.id)
        found[entity.id] = stored_entity(entity) if known is None else _merged(known, stored_entity(entity))
    return found


def _merged(known: StoredEntity, more: StoredEntity) -> StoredEntity:
    return StoredEntity(
        known.id,
        more.label or known.label,
        more.aliases or known.aliases,
        known.living if more.living is None else more.living,
    )


def _matters(old: StoredEntity, new: StoredEntity) -> bool:
    """Whether the new label or the new `living` of an entity can change a verdict."""
    relabelled = new.label is not None and new.label != old.label
    return relabelled or (new.living is not None and new.living != old.living)
