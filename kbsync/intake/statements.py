"""Statements as the ledger stores them: canonical JSON, so that equal statements have equal text.

Labels are left out: they belong to the entity, and a changed label does not change the slot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from connectors.dates import Interval
from connectors.observations import Entity, Statement

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def dump(statements: Iterable[Statement]) -> str:
    """Canonical text of `statements`; their order does not matter, and defaults are left out."""
    rows = [_row(statement) for statement in statements]
    return _ENCODER.encode(sorted(rows, key=lambda row: (row["id"], row.get("object", ""))))


@lru_cache(maxsize=16_384)
def load(text: str) -> tuple[Statement, ...]:
    """Parse the text of `dump`; objects have an id and no label."""
    return tuple(_statement(row) for row in json.loads(text))


def _row(statement: Statement) -> dict[str, Any]:
    row: dict[str, Any] = {"id": statement.id, "kind": statement.kind}
    if statement.object is not None:
        row["object"] = statement.object.id
    if statement.rank != "normal":
        row["rank"] = statement.rank
    if statement.start is not None:
        row["start"] = str(statement.start)
    if statement.end is not None:
        row["end"] = str(statement.end)
    if statement.references:
        row["references"] = statement.references
    return row


def _statement(row: dict[str, Any]) -> Statement:
    return Statement(
        id=row["id"],
        kind=row["kind"],
        object=Entity(row["object"]) if "object" in row else None,
        rank=row.get("rank", "normal"),
        start=_interval(row.get("start")),
        end=_interval(row.get("end")),
        references=row.get("references", 0),
    )


def _interval(text: str | None) -> Interval | None:
    return None if text is None else Interval.parse(text)
