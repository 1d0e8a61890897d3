"""A property graph that speaks Bolt: kind `neo4j`, through Neo4j's official driver.

A Cypher query returns rows, one for each statement.  Mode `diff` reads all of them and compares; `keyset` follows a
property with the time of the last change and reads only the subjects that changed since.  It does not see what was
deleted; the scheduled reconcile finds that through `snapshot`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Literal

import pydantic
from pydantic import Field

from connectors.border import shown
from connectors.current import current_triples
from connectors.cursors import dump_cursor, load_cursor, typed
from connectors.durations import Duration
from connectors.errors import (
    ConnectorError,
    SourceDataError,
    SourceRefused,
    SourceSettingsError,
    SourceUnavailable,
)
from connectors.observations import Health, Observation, Poll, Triple
from connectors.rows.columns import Row, require_columns
from connectors.rows.mapping import Mapper, MappingSettings
from connectors.rows.naming import Naming
from connectors.rows.shape import FIELDS, RowShape
from connectors.rows.whole_reading import (
    WholeCursor,
    WholeReading,
    digest,
    next_revision,
    report_rejects,
    rewound,
)
from connectors.settings import Context, SourceSettings, parse

_FORMAT = 1
_SEEN_IN_CURSOR = 5_000
"""Maximum delivered subjects that a cursor stores; if one overlap has more, they are read again."""
_TIMEOUT_S = 30.0
"""For connecting, and for waiting for an answer of a broken server; a query itself may take longer."""


class Neo4jSettings(SourceSettings, MappingSettings):
    """One query at one database."""

    kind: Literal["neo4j"]
    url: str = Field(pattern=r"^(bolt|neo4j)(\+s|\+ssc)?://", description="bolt:// or neo4j:// and the host")
    user: str = Field("neo4j", description="User name")
    password: pydantic.SecretStr | None = Field(
        None, description="Password of `user`; none: no authentication"
    )
    database: str | None = Field(None, description="Name of the database; default: the user's own")
    query: str = Field(description=f"Cypher query; the columns that it returns are among {', '.join(FIELDS)}")
    mode: Literal["diff", "keyset"] = Field(
        "diff", description="Read all rows and compare, or follow changed rows"
    )
    updated_at: str | None = Field(
        None,
        description="keyset: the returned column with the time of a row's last change, in milliseconds since 1970",
    )
    overlap: Duration = Field(
        timedelta(minutes=5), description="keyset: longest time from a change to its commit"
    )
    subjects_per_request: int = Field(400, ge=1, description="Subjects read at once")
    slots_per_step: int = Field(400, ge=1, description="Slots committed per step")
    max_vanished: float = Field(0.2, ge=0, le=1, description="diff: share of slots that may vanish at once")

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Neo4jSettings:
        if self.mode == "keyset" and not self.updated_at:
            raise ValueError("mode = 'keyset' needs `updated_at`")
        return self


@dataclass(frozen=True, slots=True)
class _Cursor:
    """How far a graph was followed."""

    high: int | None = None
    """The latest change delivered, in milliseconds since 1970; None before the first reading."""
    seen: Mapping[str, str] = field(default_factory=dict)
    """Subject → digest of what was delivered of those that changed within the overlap before `high`."""
    revision: int = 0
    mapping: str = ""
    """Digest of the settings that the rows were read with: under others, all are read again."""

    def dump(self) -> str:
        return dump_cursor(_FORMAT, asdict(self))

    @classmethod
    def load(cls, text: str | None) -> _Cursor:
        return load_cursor(text, _FORMAT, typed(cls), (part.name for part in fields(cls)))


class CypherQuery:
    """Runs Cypher queries that only read."""

    def __init__(self, source: str, settings: Neo4jSettings) -> None:
        self._source, self._settings = source, settings

    @cached_property
    def _driver(self) -> Any:
        try:
            import neo4j
        except ImportError as error:
            raise SourceSettingsError(
                f"sources.{self._source}.kind: neo4j needs `pip install kbsync[neo4j]`"
            ) from error
        password = self._settings.password
        auth = (self._settings.user, password.get_secret_value()) if password else None
        return neo4j.GraphDatabase.driver(
            self._settings.url,
            auth=auth,
            connection_timeout=_TIMEOUT_S,
            max_transaction_retry_time=0,
            notifications_min_severity="OFF",
        )

    def rows(self, clause: str = "RETURN *", **parameters: Any) -> list[Row]:
        """The rows of the query, with `clause` after it.  Raises the ConnectorError tree."""
        from neo4j import READ_ACCESS
        from neo4j.exceptions import AuthError, ClientError, DriverError, Neo4jError

        cypher = f"CALL {{ {self._settings.query.strip().rstrip(';')} }} WITH * {clause}"
        try:
            with self._driver.session(
                database=self._settings.database, default_access_mode=READ_ACCESS
            ) as session:
                found: list[Row] = session.execute_read(self._fetch, cypher, parameters)
        except (AuthError, ClientError) as error:
            raise SourceRefused(f"{self._source}: {shown(str(error), 400)}") from error
        except (Neo4jError, DriverError, OSError) as error:
            raise SourceUnavailable(f"{self._source}: {shown(str(error), 400)}") from error
        return found

    def _fetch(self, transaction: Any, cypher: str, parameters: Mapping[str, Any]) -> list[Row]:
        """All rows, so that the transaction ends before anything is done with them; at most one too many."""
        records = islice(transaction.run(cypher, parameters), self._settings.max_rows + 1)
        return [{name: _cell(value) for name, value in record.items()} for record in records]

    def close(self) -> None:
        if "_driver" in self.__dict__:
            self._driver.close()


class Neo4jConnector:
    """Kind `neo4j`."""

    def __init__(self, name: str, settings: Neo4jSettings, context: Context) -> None:
        self.name = name
        self._settings = settings
        self._context = context
        self._graph = CypherQuery(name, settings)
        self._naming = Naming(settings.namespace, settings.prefixes)
        self._whole = WholeReading(name, settings.slots_per_step, settings.max_vanished)

    def rewind(self, cursor: str, to: datetime | None) -> str:
        """The cursor from which what changed since `to` is read again; in mode `diff` everything is."""
        if self._settings.mode == "diff":
            return rewound(cursor)
        where = _Cursor.load(cursor)
        back = None if to is None or where.high is None else min(where.high, _milliseconds(to))
        return replace(where, high=back, seen={}).dump()

    def poll(self, cursor: str | None) -> Iterator[Poll]:
        if self._settings.mode == "keyset":
            return self._changed(_Cursor.load(cursor))
        held = WholeCursor.load(cursor)
        return self._whole.steps(self._mapped(self._graph.rows()), held, self._context.clock.now())

    def _changed(self, where: _Cursor) -> Iterator[Poll]:
        """The whole slots of the subjects of which a row changed, in the order of their changes.

        Subjects whose change lies within the overlap are read again, and delivered if they say something else.
        """
        now, mapping = self._context.clock.now(), MappingSettings.digest(self._settings)
        if where.mapping not in ("", mapping):
            where = _Cursor(revision=where.revision)
        where, first = replace(where, mapping=mapping), where.high is None
        changed, names = self._changes(where, now), dict(where.seen)
        for start in range(0, len(changed), self._settings.subjects_per_request):
            some = changed[start : start + self._settings.subjects_per_request]
            mapper = self._mapped(self._rows_of([subject for _, subject in some]))
            revision = next_revision(now, where.revision)
            observations = mapper.observations(revision, now)
            said = _said(observations)
            fresh = tuple(one for one in observations if names.get(one.subject.id) != said[one.subject.id])
            names |= said
            reached = max(some[-1][0], some[-1][0] if where.high is None else where.high)
            recent = {self._id(subject) for at, subject in changed if at >= reached - self._overlap_ms()}
            seen = {id: digest for id, digest in names.items() if id in recent}
            where = replace(
                where, high=reached, revision=revision, seen=seen if len(seen) <= _SEEN_IN_CURSOR else {}
            )
            reject = report_rejects(self.name, mapper, require_one=first)
            if fresh:
                yield Poll(fresh, where.dump(), rejected=mapper.rejected, reject=reject)

    def _changes(self, where: _Cursor, now: datetime) -> list[tuple[int, Any]]:
        """(time of its last change, subject) of the subjects that changed, in that order.

        Raises SourceDataError for times that are no whole numbers.
        """
        at, subject = _name(self._settings.updated_at or ""), _name(self._column("subject"))
        clause, parameters = (
            f"RETURN {subject} AS s, max({at}) AS latest ORDER BY latest, s",
            dict[str, Any](),
        )
        if where.high is not None:
            clause = f"WHERE {at} >= $since {clause}"
            parameters["since"] = min(where.high, _milliseconds(now)) - self._overlap_ms()
        found = [(row["latest"], row["s"]) for row in self._graph.rows(clause, **parameters)]
        if wrong := next((one for one, _ in found if type(one) is not int), None):
            raise SourceDataError(
                f"{self.name}: {self._settings.updated_at} holds {shown(wrong)}; return milliseconds, such as "
                "`n.changed.epochMillis AS updated_at` of a datetime"
            )
        return [(at, id) for at, id in found if id is not None and at is not None]

    def _overlap_ms(self) -> int:
        return int(self._settings.overlap / timedelta(milliseconds=1))

    def _id(self, subject: Any) -> str | None:
        try:
            return self._naming.entity(str(subject)).id
        except SourceDataError:
            return None  # its rows are rejected where they are mapped

    def _rows_of(self, subjects: Sequence[Any]) -> list[Row]:
        return self._graph.rows(
            f"WHERE {_name(self._column('subject'))} IN $ids RETURN *", ids=list(subjects)
        )

    def snapshot(self, slots: Iterable[tuple[str, str]]) -> Iterator[Poll]:
        asked = sorted(set(slots))
        for start in range(0, len(asked), self._settings.slots_per_step):
            some = set(asked[start : start + self._settings.slots_per_step])
            yield self._whole.snapshot(self._about({id for id, _ in some}), some, self._context.clock.now())

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        object_, condition, parameters = _name(self._column("object")), "", dict[str, Any]()
        if object_id is not None:
            condition = f"WHERE toString({object_}) IN $ids "
            parameters["ids"] = sorted(self._naming.spellings(object_id))
        subject = _name(self._column("subject"))
        # Some holders no longer have the object as a current value, so more are fetched than requested.
        rows = self._graph.rows(
            f"{condition}RETURN DISTINCT {subject} AS subject LIMIT {3 * limit}", **parameters
        )
        holders = {self._naming.entity(str(row["subject"])).id for row in rows if row["subject"] is not None}
        triples = [one for one in self._current(holders) if one.relation == relation]
        return tuple([one for one in triples if object_id in (None, one.object.id)][:limit])

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        return tuple(self._current({subject_id})[:limit])

    def check(self) -> Health:
        """Read one row, and check that the query returns the columns that are mapped."""
        try:
            some = self._graph.rows("RETURN * LIMIT 1")
            for row in some:
                require_columns(RowShape(self._settings.columns, self._settings.relation).required, list(row))
        except ConnectorError as error:
            return Health(False, str(error), lasting=error.lasting)
        return Health(True, "answers" if some else "answers, but the query finds nothing")

    def close(self) -> None:
        self._graph.close()

    def _about(self, ids: Iterable[str]) -> Mapper:
        texts = sorted({text for id in ids for text in self._naming.spellings(id)})
        subject = _name(self._column("subject"))
        return self._mapped(self._graph.rows(f"WHERE toString({subject}) IN $ids RETURN *", ids=texts))

    def _current(self, ids: Iterable[str]) -> list[Triple]:
        now = self._context.clock.now()
        found: Sequence[Observation] = self._about(ids).observations(next_revision(now, 0), now)
        return current_triples(found, now)

    def _column(self, field: str) -> str:
        return self._settings.columns.get(field, field)

    def _mapped(self, rows: Iterable[Row]) -> Mapper:
        """The mapped rows; a column that a row lacks is empty, but `subject` and `object` must be returned."""
        shape = RowShape(self._settings.columns, self._settings.relation)
        columns = dict.fromkeys(shape.columns.values())
        mapper = Mapper(self.name, self._settings)
        for line, row in enumerate(rows, 1):
            if line == 1:
                require_columns(shape.required, list(row))
            mapper.add(line, columns | {name: cell for name, cell in row.items() if name in columns})
        return mapper


def _cell(value: Any) -> Any:
    """A value as Python has it: the driver's dates and times are its own."""
    native = getattr(value, "to_native", None)
    return native() if native is not None else value


def _name(column: str) -> str:
    """A column's name as Cypher quotes it."""
    return f"`{column.replace('`', '``')}`"


def _said(observations: Iterable[Observation]) -> dict[str, str]:
    """A digest of everything that the observations say, by subject."""
    found: dict[str, str] = {}
    for one in observations:
        found[one.subject.id] = f"{found.get(one.subject.id, '')}{digest(one)}"
    return found


def _milliseconds(at: datetime) -> int:
    return int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def connect(name: str, settings: Mapping[str, Any], context: Context) -> Neo4jConnector:
    """The factory of kind `neo4j`.  Raises SourceSettingsError."""
    return Neo4jConnector(name, parse(Neo4jSettings, name, settings), context)
