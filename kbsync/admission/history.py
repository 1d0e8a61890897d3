"""All that admission knows of one slot: what sources said, what the ledger holds, how things are called."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from connectors.observations import LITERAL
from kbsync.admission.verdicts import Value
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Relation
from state.records import Entity, Fact, Slot, StoredObservation

_BARE_ID = re.compile(r"[QPL]\d+")
"""What label services give for an entity without a label: its own id."""


@dataclass(frozen=True)
class History:
    """One slot's past and present, detached from the ledger."""

    slot: Slot
    relation: Relation
    observations: tuple[StoredObservation, ...]
    """Of all sources, each source's in its own order, the current one last."""
    facts: tuple[Fact, ...] = ()
    entities: Mapping[str, Entity] = field(default_factory=dict)
    """The subject, and the objects of the observations and facts, by id."""
    bootstrap: bool = False
    """The first import: a value without the source's own date counts as old."""

    @cached_property
    def wanted(self) -> Fact | None:
        return next((fact for fact in self.facts if fact.status == "wanted"), None)

    @cached_property
    def subject_label(self) -> str | None:
        return self.label_of(self.slot.subject)

    def wants(self, object: str) -> bool:
        return self.wanted is not None and self.wanted.object == object

    def rejected(self, object: str) -> bool:
        """Whether the last that a reviewer said of `object` in this slot, however spelled, was no."""
        decided = [fact for fact in self.facts if fact.object == object and fact.decision is not None]
        return bool(decided) and max(decided, key=lambda fact: fact.updated).decision == "rejected"

    def approved(self, value: Value) -> bool:
        """Whether a reviewer has approved `value` as it is spelled now: a new label is a new question."""
        row = self.row(value)
        return row is not None and row.decision == "approved"

    def entity(self, identifier: str) -> Entity:
        known = self.entities.get(identifier)
        if known is None:
            text = identifier.removeprefix(LITERAL) if identifier.startswith(LITERAL) else None
            return Entity(identifier, text)
        return known

    def label_of(self, identifier: str) -> str | None:
        """The label as it stands in running text; None if there is none, or if it is but the id itself."""
        entity = self.entity(identifier)
        label = labels.clean(entity.label) if entity.label is not None else ""
        if not label or (_BARE_ID.fullmatch(label) and identifier.endswith(label)):
            return None
        return label

    def row(self, value: Value) -> Fact | None:
        """The ledger's row for `value` under the prompt that the slot renders to now, if it has one."""
        for fact in self.facts:
            if (
                fact.object == value.object
                and fact.target == value.target
                and fact.subject_label == self.slot.subject_label
                and fact.template == self.slot.template
            ):
                return fact
        return None
