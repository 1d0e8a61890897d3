"""Validation of what third-party connectors yield.

A built-in connector reads through `border`, so everything it yields can be stored, compared and shown.
What a third-party connector yields is checked here, value by value: a slot with an invalid value is
rejected, counted and named, and the rest of the reading is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from connectors.border import MAX_NUMBER, shown, well_formed
from connectors.dates import Interval
from connectors.errors import SourceDataError
from connectors.observations import (
    LITERAL,
    Connector,
    Entity,
    Health,
    Kind,
    Observation,
    Poll,
    Rank,
    Statement,
    Triple,
)
from connectors.rows.naming import MAX_ID

T = TypeVar("T")
CURIE = re.compile(r"[\w.-]+:\S.*")
MAX_LITERAL = 2 * MAX_ID + len(LITERAL)
"""Bytes of a literal with its prefix."""
MAX_CURSOR = 64 * 2**20
"""Characters of a cursor."""
MAX_STATEMENTS = 10_000
"""Statements of one slot."""
MAX_ALIASES = 1_000
"""Other names of one entity."""
MAX_REVISION = 2**62
"""Half of the largest integer that databases store: the ledger adds to revisions when a subject returns."""


class CheckedConnector:
    """A `Connector` that wraps a third-party connector and validates what it yields.

    An invalid step or cursor raises SourceDataError, since there is no slot to leave out.
    """

    def __init__(self, name: str, inner: Connector) -> None:
        self.name = name
        self._inner = inner

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        """As `Connector.poll`, with the slots that cannot be used left out."""
        return (self._step(step) for step in self._inner.poll(cursor))

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        """As `Connector.snapshot`, likewise."""
        return (self._step(step) for step in self._inner.snapshot(slots))

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        """As `Connector.neighbours`, without the triples that cannot be used."""
        return self._triples(self._inner.neighbours(relation, object_id, limit), limit)

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        """As `Connector.facts_of`, likewise."""
        return self._triples(self._inner.facts_of(subject_id, limit), limit)

    def check(self) -> Health:
        """As `Connector.check`."""
        health = self._inner.check()
        if not isinstance(health, Health):
            raise SourceDataError(f"{self.name}: its `check` returned {shown(health)}, not a Health")
        return health

    def close(self) -> None:
        """As `Connector.close`."""
        self._inner.close()

    def _step(self, step: Poll) -> Poll:
        if not isinstance(step, Poll):
            raise SourceDataError(f"{self.name}: its connector yielded {shown(step)}, not a Poll")
        if step.cursor is not None:
            well_formed(_of(step.cursor, str, "the cursor"), f"{self.name}: the cursor", MAX_CURSOR)
        rejects: list[str] = []
        kept = Poll(
            _sound(step.observations, self._observation, rejects),
            step.cursor,
            _sound(step.redirects, _redirect, rejects),
            _sound(step.labels, _entity, rejects),
            _sound(step.merged_objects, _redirect, rejects),
        )
        if not rejects:
            return replace(kept, **_counted(step))
        first = f"{self.name}: {len(rejects)} of a step's slots cannot be used; the first: {rejects[0]}"
        return replace(kept, rejected=len(rejects), reject=first)

    def _triples(self, triples: Iterable[Triple], limit: int) -> tuple[Triple, ...]:
        return _sound(triples, _triple, [])[:limit]

    def _observation(self, one: Observation) -> Observation:
        subject = _entity(_of(one, Observation, "a slot").subject)
        what = f"slot ({shown(subject.id)}, {shown(one.relation)})"
        if one.source != self.name:
            raise SourceDataError(f"{what} is of source {shown(one.source)}, not {shown(self.name)}")
        statements = _many(one.statements, MAX_STATEMENTS, f"{what}: statements")
        if len({statement.id for statement in map(_statement, statements)}) < len(statements):
            raise SourceDataError(f"{what} has two statements with the same id")
        _of(one.gone, bool, f"{what}: gone")
        return replace(
            one,
            relation=_curie(one.relation, f"{what}: relation"),
            revision=0 if one.gone else _count(one.revision, f"{what}: revision", MAX_REVISION),
            modified=None if one.modified is None else _instant(one.modified, f"{what}: modified"),
            observed=_instant(one.observed, f"{what}: observed"),
        )


def _sound(items: object, check: Callable[[Any], T], rejects: list[str]) -> tuple[T, ...]:
    """The items that pass `check`; the errors of the others are appended to `rejects`."""
    if not isinstance(items, Iterable):
        raise SourceDataError(f"a step contains {shown(items)} instead of a tuple")
    kept = []
    for item in items:
        try:
            kept.append(check(item))
        except SourceDataError as error:
            rejects.append(str(error))
    return tuple(kept)


def _counted(step: Poll) -> Mapping[str, Any]:
    """What the connector itself counts as rejected."""
    reject = well_formed(_of(step.reject, str, "the reject"), "the reject")
    return {"rejected": _count(step.rejected, "rejected rows", MAX_NUMBER), "reject": reject}


def _redirect(pair: tuple[str, str]) -> tuple[str, str]:
    ids = _many(pair, 2, "a redirect")
    if len(ids) != 2:
        raise SourceDataError("a redirect is not a pair of ids")
    return _curie(ids[0], "the old id of a redirect"), _curie(ids[1], "the new id of a redirect")


def _triple(triple: Triple) -> Triple:
    _of(triple, Triple, "a triple")
    return Triple(_entity(triple.subject), _curie(triple.relation, "a relation"), _value(triple.object))


def _statement(statement: Statement) -> Statement:
    what = f"statement {shown(_of(statement, Statement, 'a statement').id)}"
    _id(statement.id, "a statement's id")
    if statement.kind not in get_args(Kind) or statement.rank not in get_args(Rank):
        raise SourceDataError(f"{what}: kind {shown(statement.kind)}, rank {shown(statement.rank)}")
    if (statement.object is not None) != (statement.kind in ("entity", "literal")):
        raise SourceDataError(f"{what}: kind {statement.kind} with object {shown(statement.object)}")
    if statement.object is not None:
        _value(statement.object)
        if statement.object.id.startswith(LITERAL) != (statement.kind == "literal"):
            raise SourceDataError(f"{what}: object {shown(statement.object.id)} is no {statement.kind}")
    for date in (statement.start, statement.end):
        if date is not None:
            _of(date, Interval, f"{what}: a date")
            _instant(date.first, f"{what}: a date")
            _instant(date.past, f"{what}: a date")
    _count(statement.references, f"{what}: references", MAX_NUMBER)
    return statement


def _entity(entity: Entity) -> Entity:
    _curie(_of(entity, Entity, "an entity").id, "an entity's id")
    return _named(entity)


def _value(entity: Entity) -> Entity:
    """As `_entity`, except that the text of a literal may contain spaces."""
    if not _of(_of(entity, Entity, "an object").id, str, "an object's id").startswith(LITERAL):
        return _entity(entity)
    _indexable(well_formed(entity.id, "a literal"), "a literal", MAX_LITERAL)
    return _named(entity)


def _named(entity: Entity) -> Entity:
    what = f"entity {shown(entity.id)}"
    for name in (entity.label, *_many(entity.aliases, MAX_ALIASES, f"{what}: aliases")):
        if name is not None:
            well_formed(_of(name, str, f"{what}: a name"), f"{what}: a name")
    if None in entity.aliases:
        raise SourceDataError(f"{what}: an alias is None")
    if entity.living is not None:
        _of(entity.living, bool, f"{what}: living")
    return entity


def _id(value: object, what: str) -> str:
    text = well_formed(_of(value, str, what), what)
    if not text or text != text.strip():
        raise SourceDataError(f"{what} is {shown(text)}: empty, or with spaces around it")
    _indexable(text, what, MAX_ID)
    return text


def _curie(value: object, what: str) -> str:
    """The id of an entity or a relation: a prefix, a colon, and printable characters."""
    text = _id(value, what)
    if not CURIE.fullmatch(text) or not text.isprintable():
        raise SourceDataError(f"{what} is {shown(text)}, not a prefix, a colon and an id that prints")
    return text


def _indexable(text: str, what: str, most: int) -> None:
    """Require at most `most` bytes: databases index ids, and the size of an index entry is limited."""
    if len(text.encode()) > most:
        raise SourceDataError(f"{what} has more than {most} bytes: {shown(text)}")


def _of(value: object, kind: type[T], what: str) -> T:
    if not isinstance(value, kind):
        raise SourceDataError(f"{what} is {shown(value)}, not of type {kind.__name__}")
    return value


def _many(value: object, most: int, what: str) -> tuple[Any, ...]:
    items = _of(value, tuple, what)
    if len(items) > most:
        raise SourceDataError(f"{what}: {len(items)}; at most {most} are read")
    return items


def _count(value: object, what: str, most: int) -> int:
    number = _of(value, int, what)
    if isinstance(value, bool) or not 0 <= number <= most:
        raise SourceDataError(f"{what} is {shown(value)}, not a whole number from 0 to {most}")
    return number


def _instant(value: object, what: str) -> datetime:
    """Convert to UTC; a datetime without a time zone is rejected as ambiguous."""
    moment = _of(value, datetime, what)
    try:
        if moment.tzinfo is None or moment.utcoffset() is None:
            raise SourceDataError(f"{what} is {shown(value)}, which has no time zone")
        return moment.astimezone(UTC)
    except OverflowError:
        raise SourceDataError(f"{what} is {shown(value)}, beyond what a date can be in UTC") from None
