"""What a slot's prompt is: the catalogue's template around the subject's label, and the key that it makes.

Slots follow the catalogue; facts are pinned to the prompt that they were made with.  So a corrected
template is used by every new fact, and those that are wanted already keep the old one until somebody
moves them (`retemplate.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from editing.folding import FOLDING
from editing.requests import prompt_key, render
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Catalogue
from state.ledger import State, Transaction
from state.records import Entity, Rendering, Slot, SlotKey

Write = Callable[[], AbstractContextManager[Transaction]]


def render_slot(subject: str, template: str, relation: str, label: str | None) -> Slot:
    """The slot as it renders now; a subject without a label stands under its id until it has one."""
    shown = (labels.clean(label) if label else "") or subject
    return Slot(subject, relation, shown, template, prompt_key(render(template, shown)))


def rendered(slot: Slot, catalogue: Catalogue, entity: Entity | None = None) -> Slot:
    """The slot with the catalogue's template and, if `entity` has one, its subject's new label."""
    template = catalogue[slot.relation].template if slot.relation in catalogue else slot.template
    label = entity.label if entity is not None and entity.label is not None else slot.subject_label
    return replace(render_slot(slot.subject, template, slot.relation, label), id=slot.id)


def render_listed(tx: Transaction, catalogue: Catalogue, most: int) -> list[SlotKey]:
    """Renders at most `most` slots that were read before the catalogue had their relation; which they are."""
    pairs = tx.unrendered(catalogue, most)
    named = tx.entities({subject for subject, _ in pairs})
    tx.put_slots(
        render_slot(subject, catalogue[relation].template, relation, known.label if known else None)
        for subject, relation in pairs
        for known in [named.get(subject)]
    )
    return pairs


def behind(catalogue: Catalogue, known: Mapping[str, Rendering]) -> dict[str, Rendering]:
    """Relations whose slots are not known to be rendered as the catalogue and the folding are now."""
    now = (Rendering(relation.id, relation.template, FOLDING) for relation in catalogue.values())
    return {one.relation: one for one in now if known.get(one.relation) != one}


def follow_catalogue(state: State, write: Write, catalogue: Catalogue, page: int) -> set[SlotKey]:
    """Renders slots again whose template or folding has changed; the slots to be admitted again.

    All slots are rendered before any is admitted, or a conflict would be overlooked between two pages.  The
    caller calls `caught_up` after it has admitted them; if it is killed before that, every slot of the
    relations concerned is named again.
    """
    with state.read() as tx:
        known = tx.renderings()
    changed = behind(catalogue, known)
    interrupted = {name for name in changed if name in known and known[name].pending}
    touched: set[SlotKey] = set()
    for slots in _pages(state, changed, page):
        with write() as tx:
            moved = [new for old in slots if (new := rendered(old, catalogue)) != old]
            tx.put_slots(moved)
            _rekey(
                tx, slots, {name for name in changed if name not in known or known[name].folding != FOLDING}
            )
            tx.put_renderings(
                replace(changed[name], pending=True) for name in {slot.relation for slot in moved}
            )
        touched.update(
            (slot.subject, slot.relation)
            for slot in (*moved, *(s for s in slots if s.relation in interrupted))
        )
    return touched


def caught_up(write: Write, catalogue: Catalogue, known: Mapping[str, Rendering]) -> None:
    """Keeps that all slots are rendered as the catalogue is, and admitted."""
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
    """Prompt keys of facts that were made with another folding."""
    pairs = [(slot.subject, slot.relation) for slot in slots if slot.relation in relations]
    facts = [fact for rows in tx.facts_of(pairs).values() for fact in rows]
    keys = {fact.id: prompt_key(fact.prompt) for fact in facts}
    stale = {fact.id: keys[fact.id] for fact in facts if fact.prompt_key != keys[fact.id]}
    tx.rekey_facts(facts, stale)
