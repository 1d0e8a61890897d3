"""Decide whether two objects are the same value under different names.

A decision (rejected, barred, denied) is about the value, not about one source's spelling of it: an
entity, another entity with its label or alias, and the same text without an id are one value in a slot.
Names are compared after the folding that admission uses for prompts, and dates whatever their spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from connectors.dates import one_spelling
from connectors.observations import LITERAL
from editing.folding import fold
from state.records import Decision, Fact, StoredEntity


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one value, folded."""

    labels: frozenset[str]
    """Its current label, and its label in the fact that is compared."""
    aliases: frozenset[str]
    ids: frozenset[str]
    """An entity's id, with and without its namespace; a literal has none."""

    def means(self, other: Names) -> bool:
        """Whether one's label is among the other's labels and aliases, or one is the other's id as text.

        A shared alias proves nothing: `GE` is both Georgia and General Electric.
        """
        return (
            not self.labels.isdisjoint(other.labels | other.aliases)
            or not other.labels.isdisjoint(self.aliases)
            or (not self.ids and not self.labels.isdisjoint(other.ids))
            or (not other.ids and not other.labels.isdisjoint(self.ids))
        )


def names_of(entity: StoredEntity, *more: str) -> Names:
    """The names of an entity or a literal; `more` are further labels of it."""
    labels = frozenset(fold(label) for label in (entity.label, *more) if label)
    dates = (one_spelling(label.upper()) for label in labels)
    called = labels.union(filter(None, dates))
    if entity.id.startswith(LITERAL):
        return Names(called, frozenset(), frozenset())
    ids = {fold(entity.id), fold(entity.id.partition(":")[2])}
    return Names(called, frozenset(map(fold, entity.aliases)), frozenset(ids - {""}))


def entity_of(identifier: str, known: Mapping[str, StoredEntity]) -> StoredEntity:
    """The entity with that id, without a label if it is not known; a literal is its own label."""
    found = known.get(identifier)
    if found is None:
        text = identifier.removeprefix(LITERAL) if identifier.startswith(LITERAL) else None
        return StoredEntity(identifier, text)
    return found


def means(fact: Fact, object: str, known: Mapping[str, StoredEntity]) -> bool:
    """Whether `fact` states the value `object`, under that id or another."""
    if fact.object == object:
        return True
    stated = names_of(entity_of(fact.object, known), fact.target)
    return stated.means(names_of(entity_of(object, known)))


def newest_decision(facts: Iterable[Fact], known: Mapping[str, StoredEntity], object: str) -> Decision | None:
    """The newest decision about the value `object` among its slot's facts, whichever name it was made under."""
    made = [fact for fact in facts if fact.decision is not None and means(fact, object, known)]
    newest = max(made, key=lambda fact: (fact.decided or fact.updated, fact.id), default=None)
    return None if newest is None else newest.decision


NOBODY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Denied:
    """The objects of a deny-list, indexed by name: the cost of a lookup does not depend on the list's length."""

    by_label: dict[str, str] = field(default_factory=dict)
    by_name: dict[str, str] = field(default_factory=dict)
    """Labels and aliases."""
    by_id: dict[str, str] = field(default_factory=dict)
    heirs: Mapping[str, str] = field(default_factory=dict)
    """What a denied object was merged into → the denied object."""
    subjects: Mapping[str, str] = field(default_factory=dict)
    """The same of denied subjects."""

    @classmethod
    def of(
        cls,
        entities: Iterable[StoredEntity],
        heirs: Mapping[str, str] = NOBODY,
        subjects: Mapping[str, str] = NOBODY,
    ) -> Denied:
        """`entities`: the denied objects and their `heirs`."""
        denied = cls(heirs=heirs, subjects=subjects)
        for entity in entities:
            names, id = names_of(entity), heirs.get(entity.id, entity.id)
            denied.by_label.update(dict.fromkeys(names.labels, id))
            denied.by_name.update(dict.fromkeys(names.labels | names.aliases, id))
            denied.by_id.update(dict.fromkeys(names.ids, id))
        return denied

    def find(self, names: Names) -> str | None:
        """The denied object that has one of these names, by the rule of `Names.means`."""
        tables = [(names.labels, self.by_name), (names.aliases, self.by_label)]
        if not names.ids:
            tables.append((names.labels, self.by_id))
        hits = (table.get(name) for sought, table in tables for name in sorted(sought))
        return next((hit for hit in hits if hit is not None), None)


NOTHING_DENIED = Denied()
