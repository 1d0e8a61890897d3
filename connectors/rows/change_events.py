"""Messages of a change stream as rows: plain JSON, or the change events that Debezium documents.

The value is the row, or under `payload` or at its top an envelope with `before`, `after` and `op`.  A null value is a
tombstone: the key says whose.  A member that is a list of values gives a row for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from connectors.border import decode_json, shown
from connectors.errors import SourceDataError
from connectors.rows.columns import Row, require_columns
from connectors.rows.mapping import MappingSettings
from connectors.rows.shape import FIELDS

_OPERATIONS = ("c", "u", "d", "r")
"""Created, updated, deleted, read in a snapshot; others (truncate, messages) concern no row."""


@dataclass(frozen=True, slots=True)
class ChangedRows:
    """The rows of one slot after a change; one without an object empties it."""

    rows: Sequence[Row]


def changes_of(
    key: bytes | None,
    value: bytes | None,
    format: Literal["debezium", "json"],
    settings: MappingSettings,
    at: datetime | None,
) -> list[ChangedRows]:
    """What a message changes: one slot, or two where a row moved from one to the other.

    `at`: when the message was written, for rows that do not say when they changed.
    Raises SourceDataError for a message that is no JSON object, or no change event.
    """
    columns = _Columns(settings)
    if value is None:
        return [_emptied(columns, _key(key, columns), at)]
    body = _unwrapped(_object(value, "the message"))
    if format == "json":
        return [_stated(columns, body, at)]
    operation = body.get("op")
    if operation not in _OPERATIONS:
        if operation is None:
            raise SourceDataError(
                f"not a change event of Debezium: it has no `op`, only {shown(sorted(body))}"
            )
        return []
    before, after = (_row(body.get(name), name) for name in ("before", "after"))
    if operation == "d":
        return [_emptied(columns, {**_key(key, columns, optional=True), **before}, at)]
    changes = [_stated(columns, after, at)]
    if before and any(before.get(name) != after.get(name) for name in columns.slot):
        changes.insert(0, _emptied(columns, before, at))
    return changes


class _Columns:
    """Where a row has its fields."""

    def __init__(self, settings: MappingSettings) -> None:
        self.of = {name: settings.columns.get(name, name) for name in FIELDS}
        self.all = dict.fromkeys(self.of.values())
        self.slot = [self.of["subject"], *([] if settings.relation else [self.of["relation"]])]


def _stated(columns: _Columns, row: Row, at: datetime | None) -> ChangedRows:
    require_columns([columns.of["subject"], columns.of["object"]], row.keys())
    row = {**columns.all, **{name: cell for name, cell in row.items() if name in columns.all}}
    if row[columns.of["modified"]] is None:
        row[columns.of["modified"]] = at
    objects = row[columns.of["object"]]
    if not isinstance(objects, list):
        return ChangedRows([row])
    return ChangedRows(
        [{**row, columns.of["object"]: one} for one in objects] or [{**row, columns.of["object"]: None}]
    )


def _emptied(columns: _Columns, row: Row, at: datetime | None) -> ChangedRows:
    kept = {name: row.get(name) for name in columns.slot}
    if kept[columns.of["subject"]] is None:
        raise SourceDataError(f"a deletion without {columns.of['subject']}, in its key or in `before`")
    return ChangedRows([{**columns.all, **kept, columns.of["modified"]: at}])


def _key(key: bytes | None, columns: _Columns, optional: bool = False) -> dict[str, Any]:
    """The columns that a key names: those of an object, or the subject alone."""
    if key is None:
        if optional:
            return {}
        raise SourceDataError("a tombstone without a key")
    try:
        found = decode_json(key, "the key")
    except SourceDataError:
        found = key.decode(errors="replace")
    if isinstance(found, dict):
        return dict(_unwrapped(found))
    return {columns.of["subject"]: found}


def _object(data: bytes, what: str) -> Mapping[str, Any]:
    found = decode_json(data, what)
    if not isinstance(found, dict):
        raise SourceDataError(f"{what} is {shown(found)}, not a JSON object")
    return found


def _unwrapped(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the schema that Kafka Connect's JSON converter may add."""
    if body.keys() == {"schema", "payload"} and isinstance(body["payload"], dict):
        payload: Mapping[str, Any] = body["payload"]
        return payload
    return body


def _row(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SourceDataError(f"`{name}` is {shown(value)}, not an object")
    return value
