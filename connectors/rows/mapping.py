"""Rows of any table-shaped source (a query, a table, a file) to observations.

One row is one statement.  Rows of one (subject, relation) become one observation of that slot, so
the slot is told whole or, if one of its rows is unusable, not at all: half a slot would turn two
contradicting values into one that looks certain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pydantic
from pydantic import ConfigDict, Field

from connectors.dates import Interval, instant, interval
from connectors.errors import SourceDataError
from connectors.namespaces import WIKIDATA
from connectors.observations import Entity, Observation, Rank, Statement
from connectors.values import literal

FIELDS = (
    "subject",
    "relation",
    "object",
    "subject_label",
    "object_label",
    "subject_aliases",
    "object_aliases",
    "statement",
    "rank",
    "start",
    "end",
    "references",
    "modified",
)
"""What a row can say; `subject` and `object` it must."""
_RANKS: Mapping[str, Rank] = {"preferred": "preferred", "normal": "normal", "deprecated": "deprecated"}


class MappingSettings(pydantic.BaseModel):
    """How the values of rows become ids and labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    namespace: str = Field("", pattern=r"^[\w.-]*$", description="Prefix for ids that come without one")
    relation: str | None = Field(None, description="The relation of every row, where rows name none")
    columns: dict[str, str] = Field({}, description="Field → column, where the names differ")
    prefixes: dict[str, str] = Field({}, description="Prefix → IRI, for ids that are IRIs")

    @pydantic.field_validator("columns")
    @classmethod
    def _known_fields(cls, columns: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(columns.keys() - set(FIELDS)):
            raise ValueError(f"{', '.join(unknown)}: no such field; there are {', '.join(FIELDS)}")
        return columns


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that could not be used, and why."""

    line: int
    reason: str
    row: Mapping[str, Any]


@dataclass(slots=True)
class _Slot:
    subject: Entity
    statements: dict[str, Statement] = field(default_factory=dict)
    modified: datetime | None = None
    lines: list[tuple[int, Mapping[str, Any]]] = field(default_factory=list)
    broken: int | None = None
    """The line that made the slot unusable."""


class Mapper:
    """Collects the rows of one reading, then tells them as observations."""

    def __init__(self, source: str, settings: MappingSettings) -> None:
        self._source = source
        self._settings = settings
        self._prefixes = {*WIKIDATA, *settings.prefixes, settings.namespace} - {""}
        self._required = {settings.columns.get("object", "object"), *settings.columns.values()}
        self._slots: dict[tuple[str, str], _Slot] = {}
        self.rejects: list[Reject] = []
        self.rows = 0

    def add(self, line: int, row: Mapping[str, Any]) -> None:
        """Take in one row; `line` says where it stands.  A row without an object empties its slot."""
        self.rows += 1
        try:
            subject, relation = self._slot_of(row)
        except SourceDataError as error:
            self.rejects.append(Reject(line, str(error), row))
            return
        slot = self._slots.setdefault((subject.id, relation), _Slot(subject))
        slot.lines.append((line, row))
        if slot.subject.label is None:
            slot.subject = replace(slot.subject, label=subject.label)
        try:
            self._require_columns(row)
            self._add_statement(slot, relation, row)
        except SourceDataError as error:
            slot.broken = line
            self.rejects.append(Reject(line, str(error), row))

    def reject(self, line: int, reason: str) -> None:
        """Count a line that is not even a row."""
        self.rows += 1
        self.rejects.append(Reject(line, reason, {}))

    def observations(self, revision: int, observed: datetime) -> list[Observation]:
        """One for each usable slot, sorted; rows of unusable ones are added to the rejects."""
        found = []
        for (_, relation), slot in sorted(self._slots.items(), key=lambda item: item[0]):
            if slot.broken is not None:
                self._reject_rest(slot, slot.broken)
                continue
            statements = tuple(statement for _, statement in sorted(slot.statements.items()))
            found.append(
                Observation(
                    self._source, slot.subject, relation, statements, revision, slot.modified, observed
                )
            )
        return found

    @property
    def unusable(self) -> tuple[tuple[str, str], ...]:
        """Slots of which some row could not be used."""
        return tuple(slot for slot, rows in self._slots.items() if rows.broken is not None)

    def _reject_rest(self, slot: _Slot, broken: int) -> None:
        why = f"belongs to the same slot as line {broken}, which cannot be used"
        self.rejects += [Reject(line, why, row) for line, row in slot.lines if line != broken]

    def _require_columns(self, row: Mapping[str, Any]) -> None:
        """A column that is missing is a mistake; one that is there and empty says "nothing"."""
        if missing := self._required - row.keys():
            raise SourceDataError(f"has no column {', '.join(sorted(missing))}; it has {', '.join(row)}")

    def _slot_of(self, row: Mapping[str, Any]) -> tuple[Entity, str]:
        subject = self._text(row, "subject")
        if not subject:
            raise SourceDataError("no subject")
        relation = self._text(row, "relation") or self._settings.relation
        if not relation:
            raise SourceDataError("no relation, and the settings name none")
        return self._entity(subject, self._text(row, "subject_label")), self._id(relation)

    def _add_statement(self, slot: _Slot, relation: str, row: Mapping[str, Any]) -> None:
        slot.subject = _also_called(slot.subject, self._names(row, "subject_aliases"))
        modified = self._instant(row, "modified")
        if modified and (slot.modified is None or slot.modified < modified):
            slot.modified = modified
        text = self._text(row, "object")
        if not text:
            return
        object_ = self._object(text, self._text(row, "object_label"))
        key = f"{slot.subject.id} {relation} {object_.id}"
        id = self._text(row, "statement") or hashlib.sha256(key.encode()).hexdigest()[:16]
        known = slot.statements.get(id)
        if known is not None and known.object is not None and known.object.id == object_.id:
            object_ = _also_called(object_, known.object.aliases)
        object_ = _also_called(object_, self._names(row, "object_aliases"))
        slot.statements[id] = Statement(
            id=id,
            kind="literal" if object_.id.startswith("lit:") else "entity",
            object=object_,
            rank=self._rank(row),
            start=self._interval(row, "start"),
            end=self._interval(row, "end"),
            references=self._count(row, "references"),
        )

    def _entity(self, id: str, label: str | None) -> Entity:
        """A bare id is its own label unless the row gives a better one."""
        return Entity(self._id(id), label or (None if self._is_id(id) else id))

    def _object(self, text: str, label: str | None) -> Entity:
        return self._entity(text, label) if self._is_id(text) or label else literal(text)

    def _is_id(self, text: str) -> bool:
        return text.partition(":")[0] in self._prefixes and ":" in text

    def _id(self, text: str) -> str:
        if self._is_id(text):
            return text
        if "://" in text:
            raise SourceDataError(f"<{text}> is in no known namespace; name its start in `prefixes`")
        if not self._settings.namespace:
            raise SourceDataError(
                f"{text!r} has no known prefix; set `namespace` for ids without one, or name it in `prefixes`"
            )
        return f"{self._settings.namespace}:{text}"

    def _text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = row.get(self._settings.columns.get(name, name))
        if value is None:
            return None
        if isinstance(value, dict | list | bool):
            raise SourceDataError(f"{name} is {value!r}, not a text or a number")
        return str(value).strip() or None

    def _names(self, row: Mapping[str, Any], name: str) -> tuple[str, ...]:
        """A list of texts, or one text with `|` between the names."""
        value = row.get(self._settings.columns.get(name, name))
        if isinstance(value, list):
            if not all(isinstance(item, str) for item in value):
                raise SourceDataError(f"{name} is {value!r}, not a list of texts")
            names = value
        else:
            names = (self._text(row, name) or "").split("|")
        return tuple(stripped for item in names if (stripped := item.strip()))

    def _instant(self, row: Mapping[str, Any], name: str) -> datetime | None:
        value = row.get(self._settings.columns.get(name, name))
        text = value.isoformat() if isinstance(value, datetime) else self._text(row, name)
        try:
            return instant(text) if text else None
        except SourceDataError as error:
            raise SourceDataError(f"{name}: {error}") from error

    def _interval(self, row: Mapping[str, Any], name: str) -> Interval | None:
        """A datetime is an instant; a date or a text such as `2026` lasts as long as it says."""
        value = row.get(self._settings.columns.get(name, name))
        text = value.isoformat() if isinstance(value, datetime) else self._text(row, name)
        try:
            return interval(text) if text else None
        except SourceDataError as error:
            raise SourceDataError(f"{name}: {error}") from error

    def _rank(self, row: Mapping[str, Any]) -> Rank:
        rank = (self._text(row, "rank") or "normal").lower()
        if rank not in _RANKS:
            raise SourceDataError(f"rank is {rank!r}; it can be {', '.join(_RANKS)}")
        return _RANKS[rank]

    def _count(self, row: Mapping[str, Any], name: str) -> int:
        text = self._text(row, name) or "0"
        if not text.isdecimal():
            raise SourceDataError(f"{name} is {text!r}, not a count")
        return int(text)


def _also_called(entity: Entity, names: tuple[str, ...]) -> Entity:
    """Rows come in any order and a query repeats them for every name: names are a sorted set."""
    return replace(entity, aliases=tuple(sorted({*entity.aliases, *names}))) if names else entity
