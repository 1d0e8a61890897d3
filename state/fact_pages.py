"""Pages of facts: by number, or by their subjects' labels where these are searched for."""

from __future__ import annotations

from typing import Any, get_args

from sqlalchemy import ColumnElement, Select, and_, func, or_, select, text, union_all

from state.fact_queries import ALL_FACTS, FACTS, FactFilter, FactQueries, meets
from state.paging import FEW, Page, cut, page_of, windows
from state.records import Fact, FactStatus
from state.transaction import SLOTS

_END = "\U0010ffff"
"""Sorts after everything that a label continues with."""


class FactPages(FactQueries):
    def facts_page(self, chosen: FactFilter, after: int = 0, limit: int = 50) -> Page[Fact]:
        """Facts that meet the filter, from behind the fact `after` on: by number, with `label` by label and number."""
        if chosen.label is not None:
            return self._by_label(chosen, chosen.label, after, limit)
        if (ids := self._ids(chosen, after, limit)) is None:
            return self._among_all(chosen, after, limit)
        # The ids are an expression, or SQLite would walk all facts in their order to sort none.
        found = ALL_FACTS.where(FACTS.c.id.in_(ids), meets(chosen, by_index=False), FACTS.c.id + 0 > after)
        rows = self._facts(found.order_by(FACTS.c.id + 0).limit(limit + 1))
        return cut(rows, limit, lambda fact: fact.id)

    def _ids(self, chosen: FactFilter, after: int, limit: int) -> Any | None:
        """Selects a few ids with all of the page's among them, found by an index; None: there is none for this."""
        if chosen.subject is not None:
            slots = select(SLOTS.c.id).where(SLOTS.c.subject == chosen.subject)
            return select(FACTS.c.id).where(FACTS.c.slot.in_(slots))
        named = {
            name: value
            for name in ("status", "source", "reason_code", "relation", "decision")
            if (value := getattr(chosen, name)) is not None
        }
        match sorted(named):
            case ["status"] | ["reason_code"] | ["source", "status"]:
                return _first(and_(*(FACTS.c[name] == value for name, value in named.items())), after, limit)
            case ["source"]:
                statuses: tuple[FactStatus, ...] = get_args(FactStatus)
                of_source = FACTS.c.source == chosen.source
                each = (
                    _first(of_source & (FACTS.c.status == one), after, limit).subquery() for one in statuses
                )
                return union_all(*(select(one.c.id) for one in each))
        return next(
            (ids for name, value in named.items() if (ids := self._few(name, value)) is not None), None
        )

    def _few(self, name: str, value: str) -> Select[Any] | None:
        """Selects all facts with this value, if they are few and an index finds them."""
        if name == "relation":
            slots = select(SLOTS.c.id).where(SLOTS.c.relation == value)
            return select(FACTS.c.id).where(FACTS.c.slot.in_(slots)) if self._is_few(slots) else None
        found = select(FACTS.c.id).where(FACTS.c[name] == value)
        return found if self._is_few(found) else None

    def _is_few(self, rows: Select[Any]) -> bool:
        some = rows.limit(FEW + 1).subquery()
        return int(self._value(select(func.count()).select_from(some))) <= FEW

    def _among_all(self, chosen: FactFilter, after: int, limit: int) -> Page[Fact]:
        """Looks through facts in their order, a part at a time."""
        last = int(self._value(select(func.max(FACTS.c.id))) or 0)
        rows: tuple[Fact, ...] = ()
        for size in windows():
            part = ALL_FACTS.where(
                meets(chosen, by_index=False), FACTS.c.id > after, FACTS.c.id <= after + size
            )
            rows += self._facts(part.order_by(FACTS.c.id).limit(limit + 1 - len(rows)))
            after += size
            if len(rows) > limit:
                return page_of(rows, limit, rows[limit - 1].id)
            if after >= last:
                return page_of(rows, limit, None)
        return page_of(rows, limit, None, after)

    def _by_label(self, chosen: FactFilter, label: str, after: int, limit: int) -> Page[Fact]:
        """In order of labels and numbers, which is that of the index on labels."""
        begins = self._value(select(FACTS.c.subject_label).where(FACTS.c.id == after)) if after else None
        is_all = chosen == FactFilter(label=label)
        rows: tuple[Fact, ...] = ()
        for size in (limit + 1,) if is_all else windows(10 * FEW):
            ids = self._labelled(label, begins, after).limit(size).subquery()
            found = ALL_FACTS.join(ids, ids.c.id == FACTS.c.id).where(meets(chosen, by_index=False))
            rows += self._facts(found.order_by(*self._order()).limit(limit + 1 - len(rows)))
            if len(rows) > limit:
                return page_of(rows, limit, rows[limit - 1].id)
            ends = self._rows(select(ids.c.subject_label, ids.c.id).offset(size - 1))
            if not ends:
                return page_of(rows, limit, None)
            begins, after = ends[0]
        return page_of(rows, limit, None, after)

    def _labelled(self, label: str, begins: str | None, after: int) -> Select[Any]:
        """Ids and labels of the facts whose subject's label begins so, in order, from behind a fact on.

        `begins` and `after` are that fact's label and number.
        """
        column, at_least, above, below = FACTS.c.subject_label, ">=", ">", "<"
        if self.connection.dialect.name == "postgresql":  # in order of characters, as the index is
            at_least, above, below = "~>=~", "~>~", "~<~"
        compared = column.op(at_least, is_comparison=True)(label if begins is None else begins)
        conditions: list[ColumnElement[bool]] = [compared, column.op(below, is_comparison=True)(label + _END)]
        if begins is not None:
            conditions.append(or_(column.op(above, is_comparison=True)(begins), FACTS.c.id > after))
        return select(FACTS.c.id, column).where(*conditions).order_by(*self._order())

    def _order(self) -> tuple[Any, ...]:
        if self.connection.dialect.name == "postgresql":
            return (text("facts.subject_label USING ~<~"), FACTS.c.id)
        return (FACTS.c.subject_label, FACTS.c.id)


def _first(condition: ColumnElement[bool], after: int, limit: int) -> Select[Any]:
    """The first ids above `after` that meet a condition with an index of its own."""
    chosen = select(FACTS.c.id).where(condition, FACTS.c.id > after)
    return chosen.order_by(FACTS.c.id).limit(limit + 1)
