"""Conditions on the kinds of events, in the form for which the database uses its index."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, text, true

from state.tables import Events, table
from state.tables.audit import FREQUENT, RARE

EVENTS = table(Events)


def is_kind(kind: str) -> ColumnElement[bool]:
    """Whether an event is of that kind, or of one that begins so where it ends in `*`."""
    beginning = kind.removesuffix("*")
    if beginning == kind:
        return EVENTS.c.kind == kind
    if not beginning:
        return true()
    # Not LIKE, for which SQLite uses no index.
    return (EVENTS.c.kind >= beginning) & (EVENTS.c.kind < f"{beginning[:-1]}{chr(ord(beginning[-1]) + 1)}")


def is_rare(kind: str) -> bool:
    """Whether the index on kinds has every event of that kind, which may end in `*`."""
    return not any(_covers(kind, frequent) for frequent in FREQUENT)


def is_rare_kind(kind: str) -> ColumnElement[bool]:
    """`is_kind` of a rare kind; the index on kinds is used only where its own condition is repeated."""
    return and_(text(RARE), is_kind(kind))


def _covers(wanted: str, kind: str) -> bool:
    return kind.startswith(wanted[:-1]) if wanted.endswith("*") else kind == wanted
