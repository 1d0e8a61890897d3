"""Entities, cursors and slots: what is watched, and how it is called."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from sqlalchemy import select

from state.hash_chain import canonical
from state.records import Slot, SlotKey, StoredEntity
from state.tables import Cursors, Entities, table
from state.transaction import SLOTS, NewEvent, Reader, Writer, chunks, columns_of

ENTITIES, CURSORS = table(Entities), table(Cursors)
_SLOT = columns_of(SLOTS, Slot)
_RENDERED = select(*_SLOT).where(SLOTS.c.prompt_key.is_not(None))

_PROMPT = ("subject_label", "template", "prompt_key")


class SlotQueries(Reader):
    def cursor(self, source: str) -> str | None:
        """Where to go on reading a source; None: from the beginning."""
        value: str | None = self._value(select(CURSORS.c.cursor).where(CURSORS.c.source == source))
        return value

    def cursors(self) -> dict[str, str]:
        """The cursor of every source that has one."""
        rows = self._rows(select(CURSORS.c.source, CURSORS.c.cursor).where(CURSORS.c.cursor.is_not(None)))
        return {row.source: row.cursor for row in rows}

    def entities(self, ids: Iterable[str]) -> dict[str, StoredEntity]:
        found = {}
        for chunk in chunks(ids):
            for row in self._rows(select(ENTITIES).where(ENTITIES.c.id.in_(chunk))):
                found[row.id] = StoredEntity(row.id, row.label, _aliases(row.aliases), row.living)
        return found

    def unlabelled(self, after: str, limit: int) -> list[str]:
        """At most `limit` entities without a label, by id, that come after the id `after`."""
        waiting = select(ENTITIES.c.id).where(ENTITIES.c.label.is_(None), ENTITIES.c.id > after)
        return [row.id for row in self._rows(waiting.order_by(ENTITIES.c.id).limit(limit))]

    def slots(self, pairs: Iterable[SlotKey]) -> dict[SlotKey, Slot]:
        found = {}
        for chunk in chunks(pairs):
            for row in self._rows(_RENDERED.where(self._named(chunk))):
                found[(row.subject, row.relation)] = Slot(*row)
        return found

    def unrendered(self, relations: Iterable[str], limit: int) -> list[SlotKey]:
        """Slots of these relations that were read and never rendered (their relation was not known then)."""
        waiting = select(SLOTS.c.subject, SLOTS.c.relation).where(SLOTS.c.prompt_key.is_(None))
        listed = SLOTS.c.relation.in_(sorted(relations))
        # In no order: to have them by id, SQLite would walk all slots.
        rows = self._rows(waiting.where(listed).limit(limit))
        return sorted((row.subject, row.relation) for row in rows)

    def slots_of_subjects(self, subjects: Iterable[str]) -> dict[SlotKey, Slot]:
        """Every watched slot of these subjects."""
        rows = [
            row
            for chunk in chunks(subjects)
            for row in self._rows(_RENDERED.where(SLOTS.c.subject.in_(chunk)).order_by(SLOTS.c.id))
        ]
        return {(row.subject, row.relation): Slot(*row) for row in rows}

    def slots_with_prompt_keys(self, keys: Iterable[str]) -> dict[str, tuple[Slot, ...]]:
        """Slots that make one prompt to the model, whatever their entities: Eqn. 5 on the rendered prompt."""
        found: dict[str, list[Slot]] = {}
        for chunk in chunks(keys):
            for row in self._rows(_RENDERED.where(SLOTS.c.prompt_key.in_(chunk)).order_by(SLOTS.c.id)):
                found.setdefault(row.prompt_key, []).append(Slot(*row))
        return {key: tuple(slots) for key, slots in found.items()}


class SlotTransitions(SlotQueries, Writer):
    def set_cursor(self, source: str, cursor: str | None) -> None:
        """Belongs in the transaction that records what the cursor covers; it has no event of its own."""
        values = {"cursor": cursor, "updated": self.clock()}
        if not self._update(CURSORS, CURSORS.c.source == source, **values):
            self._insert(CURSORS, [{"source": source, **values}])

    def put_entities(
        self,
        entities: Iterable[StoredEntity],
        actor: str = "connector",
        *,
        known: Mapping[str, StoredEntity] | None = None,
    ) -> None:
        """Adds entities or updates what is known of them; an unknown label or life date erases nothing.

        A changed label is an event: it changes prompts and targets.  `known`: those of them that are stored,
        as they are in this transaction, to spare reading them.
        """
        offered = {entity.id: entity for entity in entities}
        stored = self.entities(offered) if known is None else known
        new, changed, notes = [], [], []
        for entity in offered.values():
            old = stored.get(entity.id)
            if old is None:
                new.append(_entity_row(entity))
                continue
            merged = _merged(old, entity)
            if merged == old:
                continue
            changed.append(_entity_row(merged))
            if merged.label != old.label:
                notes.append(
                    NewEvent("entity.relabelled", {"id": merged.id, "old": old.label, "new": merged.label})
                )
        self._insert(ENTITIES, new)
        self._rewrite(ENTITIES, changed)
        self._log(actor, notes)

    def put_slots(self, slots: Iterable[Slot], actor: str = "admission") -> None:
        """Keeps the prompts that slots render to; a changed prompt is an event."""
        offered = {(slot.subject, slot.relation): slot for slot in slots}
        stored, ids = self.slots(offered), self._slot_ids(offered)
        changed, named, notes = [], [], []
        for pair, slot in offered.items():
            old = stored.get(pair)
            if old is not None and replace(slot, id=old.id) == old:
                continue
            named.append({"subject": slot.subject, "relation": slot.relation})
            changed.append({"id": ids[pair], **{name: getattr(slot, name) for name in _PROMPT}})
            if old is not None:
                notes.append(NewEvent("slot.rerendered", _rerendered(old, slot)))
        self._rewrite(SLOTS, changed, named)
        self._log(actor, notes)


@lru_cache(maxsize=16_384)
def _aliases(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def _rerendered(old: Slot, new: Slot) -> dict[str, Any]:
    return {
        "subject": new.subject,
        "relation": new.relation,
        "label": new.subject_label,
        "template": new.template,
        "old_label": old.subject_label,
        "old_template": old.template,
    }


def _entity_row(entity: StoredEntity) -> dict[str, Any]:
    return {
        "id": entity.id,
        "label": entity.label,
        "aliases": canonical(entity.aliases),
        "living": entity.living,
    }


def _merged(old: StoredEntity, new: StoredEntity) -> StoredEntity:
    return StoredEntity(
        old.id,
        old.label if new.label is None else new.label,
        old.aliases if new.label is None and not new.aliases else new.aliases,
        old.living if new.living is None else new.living,
    )
