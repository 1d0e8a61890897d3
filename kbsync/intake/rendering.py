"""Render the prompts of slots: the catalogue's template with the subject's label, and its prompt key.

Slots follow the catalogue; facts are pinned to the prompt that they were created with.  A corrected
template is therefore used by every new fact, while wanted facts keep the old one until an operator moves
them (`retemplate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from editing.folding import FOLDING
from editing.requests import prompt_key, render
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Catalogue
from state.fact_queries import FactFilter
from state.ledger import Snapshot, State, Transaction
from state.records import Rendering, Slot, SlotKey, StoredEntity

Write = Callable[[], AbstractContextManager[Transaction]]


def render_slot(subject: str, template: str, relation: str, label: str | None) -> Slot:
    """The rendered slot; a subject without a label is rendered with its id."""
    shown = (labels.clean(label) if label else "") or subject
    return Slot(subject, relation, shown, template, prompt_key(render(template, shown)))


def rendered(slot: Slot, catalogue: Catalogue, entity: StoredEntity | None = None) -> Slot:
    """The slot with the catalogue's current template and, if `entity` has a label, that label."""
    template = catalogue[slot.relation].template if slot.relation in catalogue else slot.template
    label = entity.label if entity is not None and entity.label is not None else slot.subject_label
    return replace(render_slot(slot.subject, template, slot.relation, label), id=slot.id)


def render_listed(tx: Transaction, catalogue: Catalogue, most: int) -> list[SlotKey]:
    """Render at most `most` slots that were read before the catalogue listed their relation; return them."""
    pairs = tx.unrendered(catalogue, most)
    named = tx.entities({subject for subject, _ in pairs})
    tx.put_slots(
        render_slot(subject, catalogue[relation].template, relation, known.label if known else None)
        for subject, relation in pairs
        for known in [named.get(subject)]
    )
    return pairs


def behind(catalogue: Catalogue, known: Mapping[str, Rendering]) -> dict[str, Rendering]:
    """Relations whose slots may still be rendered with an older template or folding."""
    now = (Rendering(relation.id, relation.template, FOLDING) for relation in catalogue.values())
    return {one.relation: one for one in now if known.get(one.relation) != one}


def follow_catalogue(state: State, write: Write, catalogue: Catalogue, page: int) -> set[SlotKey]:
    """Render slots again whose template or folding has changed; return the slots to be admitted again.

    All slots are rendered before any is admitted; otherwise a conflict between two pages would be missed.
    The caller calls `caught_up` after it has admitted them; if it is killed before that, the next call
    returns every slot of the relations concerned.
    """
    with state.read() as tx:
        known = tx.renderings()
    changed = behind(catalogue, known)
    interrupted = {name for name in changed if name in known and known[name].pending}
    touched: set[SlotKey] = set()
    for slots in _pages(state, changed, page):
        with write() as tx:
            pairs = [(old, new) for old in slots if (new := rendered(old, catalogue)) != old]
            moved = [new for _, new in pairs]
            tx.put_slots(moved)
            # Those whose prompt they no longer share may be admitted now.
            stayed = tx.slots_with_prompt_keys(
                {old.prompt_key for old, _ in pairs} - {new.prompt_key for new in moved}
            )
            _rekey(
                tx, slots, {name for name in changed if name not in known or known[name].folding != FOLDING}
            )
            tx.put_renderings(
                replace(changed[name], pending=True) for name in {slot.relation for slot in moved}
            )
        touched.update(
            (slot.subject, slot.relation)
            for some in (moved, *stayed.values(), [s for s in slots if s.relation in interrupted])
            for slot in some
        )
    if interrupted:
        with state.read() as tx:
            touched |= kept_out(tx)
    return touched


def kept_out(tx: Snapshot) -> set[SlotKey]:
    """The slots of which a slot with the same prompt keeps a value out."""
    facts = tx.chosen_facts(FactFilter(status="quarantined", reason_code="homonym"))
    return {(fact.subject, fact.relation) for fact in facts}


def caught_up(write: Write, catalogue: Catalogue, known: Mapping[str, Rendering]) -> None:
    """Record that all slots are rendered with the current catalogue and admitted."""
    changed = behind(catalogue, known)
    if changed:
        with write() as tx:
            tx.put_renderings(changed.values())


def _pages(state: State, relations: Collection[str], page: int) -> Iterator[list[Slot]]:
    after = 0
    while relations:
        with state.read() as tx:
            slots = tx.rendered_page(relations, after, page)
        if not slots:
            return
        yield slots
        assert slots[-1].id is not None
        after = slots[-1].id


def _rekey(tx: Transaction, slots: list[Slot], relations: Collection[str]) -> None:
    """Recompute the prompt keys of facts that were created with another folding."""
    pairs = [(slot.subject, slot.relation) for slot in slots if slot.relation in relations]
    facts = [fact for rows in tx.facts_of(pairs).values() for fact in rows]
    keys = {fact.id: prompt_key(fact.prompt) for fact in facts}
    stale = {fact.id: keys[fact.id] for fact in facts if fact.prompt_key != keys[fact.id]}
    tx.rekey_facts(facts, stale)
