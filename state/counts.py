"""How many there are of what: figures that take longer to count the larger the ledger is.

Each is counted along an index, without reading the rows.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, exists, func, literal, select

from state.fact_queries import FACTS
from state.records import Checkpoint
from state.transaction import SLOTS, Reader
from state.views import BASE_ANSWERS, VIEW_FACTS, VIEWS

_WAITS = (FACTS.c.status == "quarantined") & (FACTS.c.decision.is_(None) | (FACTS.c.decision != "rejected"))


class CountQueries(Reader):
    def count_waiting(self) -> int:
        """Facts in quarantine that nobody has rejected."""
        return self._count(FACTS.c.status == "quarantined") - self._count(
            (FACTS.c.decision == "rejected") & (FACTS.c.status == "quarantined")
        )

    def count_waiting_for(self, code: str) -> int:
        """Those of them with this reason's code."""
        return self._count((FACTS.c.reason_code == code) & _WAITS)

    def count_pending(self, live: Checkpoint | None) -> int:
        """Wanted facts that live was not built with, and facts of live that are not wanted any more.

        A fact that live's base states unedited needs no edit: it does not count.
        """
        if live is None:
            return self._count(FACTS.c.status == "wanted")
        view = self._value(select(VIEWS.c.id).where(VIEWS.c.digest == live.view))
        stated = exists().where(VIEW_FACTS.c.view == literal(view), VIEW_FACTS.c.fact == FACTS.c.id)
        unlike = ~_known(live.base)
        new = self._count((FACTS.c.status == "wanted") & ~stated & unlike)
        left = select(func.count()).select_from(VIEW_FACTS.join(FACTS, FACTS.c.id == VIEW_FACTS.c.fact))
        return new + int(
            self._value(left.where(VIEW_FACTS.c.view == view, FACTS.c.status != "wanted", unlike))
        )

    def count_wordings(self, view: str) -> dict[tuple[str, str], int]:
        """The view's facts by relation and pinned template."""
        facts = VIEWS.join(VIEW_FACTS, VIEW_FACTS.c.view == VIEWS.c.id).join(FACTS).join(SLOTS)
        by = (SLOTS.c.relation, FACTS.c.template)
        counted = select(*by, func.count()).select_from(facts).where(VIEWS.c.digest == view).group_by(*by)
        return {(row[0], row[1]): row[2] for row in self._rows(counted)}

    def subject_prefixes(self) -> set[str]:
        """The namespaces of all subjects."""
        colon = func.instr if self.connection.dialect.name == "sqlite" else func.strpos
        prefix = func.substr(SLOTS.c.subject, 1, colon(SLOTS.c.subject, ":") - 1)
        return {row[0] for row in self._rows(select(prefix.label("prefix")).distinct())}

    def relations(self) -> list[str]:
        """The relations of all slots, found by leaps along their index."""
        found: list[str] = []
        while True:
            least = select(func.min(SLOTS.c.relation))
            after = least if not found else least.where(SLOTS.c.relation > found[-1])
            if (relation := self._value(after)) is None:
                return found
            found.append(relation)

    def count_wanted_of(self, relation: str) -> int:
        """Wanted facts of a relation."""
        slots = select(SLOTS.c.id).where(SLOTS.c.relation == relation)
        return self._count((FACTS.c.status == "wanted") & FACTS.c.slot.in_(slots))

    def _count(self, condition: ColumnElement[bool]) -> int:
        return int(self._value(select(func.count()).select_from(FACTS).where(condition)))


def _known(base: str) -> Any:
    """Whether that base states a fact unedited."""
    return exists().where(
        BASE_ANSWERS.c.base == base, BASE_ANSWERS.c.fact == FACTS.c.id, BASE_ANSWERS.c.known
    )
