"""Whom and what the ledger knows by an id, wherever the id stands."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from state.fact_queries import FACTS, FactQueries
from state.merges import MERGES
from state.slots import ENTITIES
from state.transaction import SLOTS


class SubjectQueries(FactQueries):
    def subject_exists(self, subject: str) -> bool:
        """Whether the ledger has anything of the subject: its name, a slot, or a fact with it as the object."""
        return any(
            self._row(question) is not None
            for question in (
                select(ENTITIES.c.id).where(ENTITIES.c.id == subject),
                select(SLOTS.c.id).where(SLOTS.c.subject == subject).limit(1),
                select(FACTS.c.id).where(FACTS.c.object == subject).limit(1),
            )
        )

    def subjects(self) -> Iterator[str]:
        """Every id that the ledger has of an entity, a subject or a value."""
        for column in (ENTITIES.c.id, SLOTS.c.subject, FACTS.c.object, MERGES.c.old, MERGES.c.new):
            yield from (row[0] for row in self._rows(select(column).distinct()))
