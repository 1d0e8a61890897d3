"""Rows of any table-shaped source (a query, a table, a file) to observations.

One row is one statement.  The rows of one (subject, relation) become one observation of that slot.  The
slot is reported whole or, if one of its rows is unusable, not at all: half a slot would make two
contradicting values look like a single certain one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import pydantic
from pydantic import ConfigDict, Field

from connectors.errors import SourceDataError
from connectors.observations import LITERAL, Entity, Kind, Observation, Statement
from connectors.rows.columns import MAX_NAMES, Row
from connectors.rows.naming import Naming
from connectors.rows.shape import FIELDS, Name, RowShape, StatementRow

MAX_REJECTS = 10_000
"""Maximum rejected rows stored with their reason; further ones are only counted."""
MAX_STATEMENTS = 1_000
"""Maximum statements of one slot."""


class MappingSettings(pydantic.BaseModel):
    """How the values of rows become ids and labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("", pattern=r"^[\w.-]*$", description="Prefix for ids that come without one")
    relation: str | None = Field(None, description="Relation of rows that name none")
    columns: dict[str, str] = Field({}, description="Field → column, if the names differ")
    prefixes: dict[str, str] = Field({}, description="Prefix → IRI, for ids that are IRIs")
    max_rows: int = Field(
        500_000, ge=1, description="Maximum rows of one reading; more rows fail the reading"
    )

    def digest(self) -> str:
        """A digest of the settings that affect how rows are mapped."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    @pydantic.field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(columns.keys() - set(FIELDS)):
            raise ValueError(f"{', '.join(unknown)}: no such field; available: {', '.join(FIELDS)}")
        return columns


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used, and why."""

    line: int
    reason: str
    row: Row | None = None
    """Its cells, if they are available."""


@dataclass(slots=True)
class _Entity:
    """What the rows of a slot call one entity; rows come in any order and repeat each other."""

    id: str
    own: str | None
    """Its label where no row names one: a bare id."""
    label: Name | None = None
    aliases: set[str] | None = None
    """None rather than empty: most entities have none, and there may be half a million."""


@dataclass(slots=True)
class _Statement:
    statement: Statement
    object: _Entity


@dataclass(slots=True)
class _Slot:
    subject: _Entity
    statements: dict[str, _Statement] = field(default_factory=dict)
    modified: datetime | None = None
    lines: list[int] = field(default_factory=list)
    broken: int | None = None
    """The line that made the slot unusable."""


class Mapper:
    """Collects the rows of one reading and converts them to observations."""

    def __init__(self, source: str, settings: MappingSettings, languages: Sequence[str] = ()) -> None:
        """`languages` are those of labels, best first, for sources whose labels have one."""
        self._source = source
        self.max_rows = settings.max_rows
        self._relation = settings.relation
        self._naming = Naming(settings.namespace, settings.prefixes, languages)
        self._slots: dict[tuple[str, str], _Slot] = {}
        self.shape = RowShape(settings.columns, settings.relation)
        self.rejects: list[Reject] = []
        """The first MAX_REJECTS of them."""
        self.rejected = 0
        self.rows = 0

    def add(self, line: int, row: Row) -> None:
        """Add one row; `line` is its position.  A row without an object empties its slot.

        Raises SourceDataError beyond `max_rows`.
        """
        self._count()
        try:
            self._add(line, row)
        except SourceDataError as error:
            self._break_slot(line, row)
            self._reject(Reject(line, str(error), row))

    def add_error(self, line: int, error: SourceDataError) -> None:
        """Add a line that could not be parsed as a row."""
        self._count()
        self._reject(Reject(line, str(error)))

    def add_all(self, rows: Iterable[tuple[int, Row | SourceDataError]]) -> Mapper:
        """Add every numbered row; returns the mapper itself."""
        for line, row in rows:
            if isinstance(row, SourceDataError):
                self.add_error(line, row)
            else:
                self.add(line, row)
        return self

    def _count(self) -> None:
        self.rows += 1
        if self.rows > self.max_rows:
            raise SourceDataError(
                f"more than {self.max_rows} rows in one reading; read less at once, or raise `max_rows`"
            )

    def observations(self, revision: int, observed: datetime) -> list[Observation]:
        """One for each usable slot, sorted; rows of unusable ones are added to the rejects."""
        found = []
        for (_, relation), slot in sorted(self._slots.items(), key=lambda item: item[0]):
            if slot.broken is not None:
                self._reject_rest(slot, slot.broken)
                continue
            found.append(
                Observation(
                    self._source,
                    self._named(slot.subject),
                    relation,
                    tuple(
                        replace(held.statement, object=self._named(held.object))
                        for _, held in sorted(slot.statements.items())
                    ),
                    revision,
                    slot.modified,
                    observed,
                )
            )
        return found

    @property
    def slots(self) -> Collection[tuple[str, str]]:
        """Every slot that some row belongs to, unusable ones among them."""
        return self._slots.keys()

    @property
    def unusable(self) -> tuple[tuple[str, str], ...]:
        """Slots of which some row could not be used."""
        return tuple(slot for slot, rows in self._slots.items() if rows.broken is not None)

    def _add(self, line: int, row: Row) -> None:
        read = self.shape.read(row)
        relation = self._relation_of(read.relation)
        subject = self._naming.entity(read.subject)
        labelled = read.object_label is not None
        object_ = self._naming.value(read.object, labelled) if read.object else None
        slot = self._slot(subject, relation, line)
        self._call(slot.subject, read.subject_label, read.subject_aliases)
        if read.modified and (slot.modified is None or slot.modified < read.modified):
            slot.modified = read.modified
        if object_ is not None:
            self._add_statement(slot, relation, read, object_)

    def _slot(self, subject: Entity, relation: str, line: int) -> _Slot:
        slot = self._slots.get((subject.id, relation))
        if slot is None:
            slot = self._slots[subject.id, relation] = _Slot(_Entity(subject.id, subject.label))
        slot.lines.append(line)
        return slot

    def _relation_of(self, text: str | None) -> str:
        relation = text or self._relation
        if not relation:
            raise SourceDataError("no relation, and the settings name none")
        return self._naming.id_of(relation)

    def _add_statement(self, slot: _Slot, relation: str, read: StatementRow, object_: Entity) -> None:
        id = read.statement or _statement_id(slot.subject.id, relation, object_.id, read)
        kind: Kind = "literal" if object_.id.startswith(LITERAL) else "entity"
        fresh = Statement(id, kind, None, read.rank, read.start, read.end, read.references)
        held = slot.statements.get(id)
        if held is None:
            if len(slot.statements) == MAX_STATEMENTS:
                raise SourceDataError(f"the slot holds more than {MAX_STATEMENTS} statements")
            held = slot.statements[id] = _Statement(fresh, _Entity(object_.id, object_.label))
        most = max(fresh.references, held.statement.references)
        if held.object.id != object_.id or replace(held.statement, references=most) != replace(
            fresh, references=most
        ):
            raise SourceDataError(f"statement {id} already occurs in an earlier row, with other values")
        held.statement = replace(fresh, references=most)
        self._call(held.object, read.object_label, read.object_aliases)

    def _call(self, entity: _Entity, label: Name | None, aliases: tuple[Name, ...]) -> None:
        entity.label = self._naming.better(entity.label, label)
        wanted = {name.text for name in aliases if self._naming.rank(name) is not None}
        if wanted:
            entity.aliases = wanted | (entity.aliases or set())
            if len(entity.aliases) > MAX_NAMES:
                raise SourceDataError(f"{entity.id} has more than {MAX_NAMES} other names")

    @staticmethod
    def _named(entity: _Entity) -> Entity:
        label = entity.label.text if entity.label else entity.own
        return Entity(entity.id, label, tuple(sorted(entity.aliases or ())))

    def _reject(self, reject: Reject) -> None:
        self.rejected += 1
        if len(self.rejects) < MAX_REJECTS:
            self.rejects.append(reject)

    def _break_slot(self, line: int, row: Row) -> None:
        """Marks the slot of a row that cannot be used, if at least its slot can be read."""
        try:
            subject, relation = self.shape.read_slot(row)
            entity, relation = self._naming.entity(subject), self._relation_of(relation)
        except SourceDataError:
            return  # the row is rejected anyway, and belongs to no slot
        slot = self._slot(entity, relation, line)
        while slot.lines and slot.lines[-1] == line:
            slot.lines.pop()
        slot.broken = slot.broken or line

    def _reject_rest(self, slot: _Slot, broken: int) -> None:
        why = f"belongs to the same slot as line {broken}, which cannot be used"
        for line in slot.lines:
            self._reject(Reject(line, why))


def _statement_id(subject: str, relation: str, object_: str, read: StatementRow) -> str:
    """An id for a statement that comes without one; a value that held twice is two statements."""
    key = f"{subject} {relation} {object_}"
    if read.start or read.end:
        key += f" {read.start} {read.end}"
    return hashlib.sha256(key.encode()).hexdigest()[:16]
