"""What admission knows about one slot: the sources' statements, the ledger's facts, the entities' names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from connectors.observations import LITERAL, Statement
from kbsync.admission.meaning import (
    NOTHING_DENIED,
    Denied,
    entity_of,
    means,
    names_of,
    newest_decision,
)
from kbsync.admission.verdicts import Value
from kbsync.catalogue import labels
from kbsync.catalogue.relations import Relation
from state.records import Decision, Fact, Slot, StoredEntity

_BARE_ID = re.compile(r"[QPL][0-9]+|[a-z][a-z0-9+.-]*://\S*")
"""What label services return for an entity without a label: its own id, or its IRI."""


def _is_id(label: str, identifier: str) -> bool:
    if identifier.startswith(LITERAL):
        return False
    local = identifier.partition(":")[2]
    return label == identifier or bool(_BARE_ID.fullmatch(label) and label.endswith(local))


@dataclass(frozen=True, slots=True)
class Stated:
    """What one source stated about a slot from one revision on."""

    source: str
    revision: int
    modified: datetime | None
    """When the source changed it, by its own clock."""
    observed: datetime
    """When it was read."""
    held: tuple[Statement, ...]


@dataclass(frozen=True)
class History:
    """One slot's past and present, detached from the ledger."""

    slot: Slot
    relation: Relation
    observations: tuple[Stated, ...]
    """Observations of all sources, each source's in its own order, the current one last."""
    facts: tuple[Fact, ...] = ()
    entities: Mapping[str, StoredEntity] = field(default_factory=dict)
    """The subject, and the objects of the observations and facts, by id."""
    special_tokens: frozenset[str] = frozenset()
    """The model's control tokens, as text."""
    deny: Denied = NOTHING_DENIED
    """The names of the policy's denied objects, and what they and denied subjects were merged into."""
    bootstrap: bool = False
    """An operator requested a bootstrap: values that the source does not date count as settled, and values
    that the volume breaker stopped are accepted."""
    forgotten: bool = False
    """An operator has removed a source's statements: a value that no other source states is retracted."""

    @cached_property
    def wanted(self) -> Fact | None:
        """The fact that is wanted, unless a reviewer has rejected its value under another name."""
        return self._wanted_row if self.refused is None else None

    @cached_property
    def refused(self) -> Fact | None:
        """A fact that is still wanted although a reviewer has rejected its value: it is to be retracted."""
        row = self._wanted_row
        return row if row is not None and self.rejected(row.object) else None

    @cached_property
    def _wanted_row(self) -> Fact | None:
        return next((fact for fact in self.facts if fact.status == "wanted"), None)

    @cached_property
    def subject_label(self) -> str | None:
        return self.label_of(self.slot.subject)

    def wants(self, object: str) -> bool:
        return self.wanted is not None and self.wanted.object == object

    def decision(self, object: str) -> Decision | None:
        """The newest decision about `object` in this slot, whichever id or name it was made under.

        A decision holds for the value, not for one spelling of it: an entity of that name, another entity
        with that label or alias, and the same text without an id are one value.
        """
        return newest_decision(self.facts, self.entities, object)

    def rejected(self, object: str) -> bool:
        return self.decision(object) == "rejected"

    def barred(self, object: str) -> bool:
        """Whether a gate or a rollback has barred the value, and no reviewer has decided about it since."""
        return self.decision(object) == "barred"

    def approved(self, value: Value) -> bool:
        """Whether a reviewer has approved `value` with its current labels: a new label needs a new approval,
        a new template does not."""
        made = [fact for fact in self.facts if fact.decision is not None and self.spells(fact, value)]
        newest = max(made, key=lambda fact: (fact.decided or fact.updated, fact.id), default=None)
        return newest is not None and newest.decision == "approved"

    def means(self, fact: Fact, object: str) -> bool:
        """Whether `fact` states the value `object`, under that id or another."""
        return means(fact, object, self.entities)

    def denied(self, object: str, objects: Collection[str]) -> str | None:
        """The one of these denied objects that the value is, by id, by name or by a merge, or None."""
        if object in objects:
            return object
        if object in self.deny.heirs:
            return self.deny.heirs[object]
        return self.deny.find(names_of(self.entity(object))) if objects else None

    def entity(self, identifier: str) -> StoredEntity:
        return entity_of(identifier, self.entities)

    def label_of(self, identifier: str) -> str | None:
        """The label as it appears in running text; None if there is none, or if it is only the id."""
        entity = self.entity(identifier)
        label = labels.clean(entity.label) if entity.label is not None else ""
        return None if not label or _is_id(label, identifier) else label

    def row(self, value: Value) -> Fact | None:
        """The ledger's row for `value` with the slot's current prompt, if there is one."""
        return next(
            (f for f in self.facts if self.spells(f, value) and f.template == self.slot.template), None
        )

    def waiting(self, value: Value) -> Fact | None:
        """The held or quarantined row of `value`, with the current template or an older one."""
        rows = [f for f in self.facts if f.status in ("held", "quarantined") and self.spells(f, value)]
        return max(rows, key=lambda fact: (fact.template == self.slot.template, fact.id), default=None)

    def spells(self, fact: Fact, value: Value) -> bool:
        """Whether `fact` is `value` with the current labels, whatever its template."""
        spelled = (fact.object, fact.target, fact.subject_label)
        return spelled == (value.object, value.target, self.slot.subject_label)
