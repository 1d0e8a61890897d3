"""The audit log's arithmetic: canonical text and the hash that ties each event to the one before.

RFC 8785 (JSON Canonicalization Scheme) fixes one text for one value; SHA-256 over that text of the
whole row, the previous row's hash included, makes the rows a chain.  `docs/state.md` gives the
specification for third parties; this module is its implementation and needs no database.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson
import rfc8785

GENESIS = "0" * 64
"""What the first event names as the hash before it."""

_LARGEST_EXACT = 2**53 - 1


def canonical(value: Any) -> str:
    """RFC 8785 text of `value`.

    Numbers that JSON or IEEE doubles cannot carry are written as strings, so that the event which
    reports a NaN can be written: `NaN`, `Infinity`, `-Infinity`, and integers beyond 2⁵³ − 1.
    Instants become ISO 8601 text in UTC, tuples become arrays.
    """
    odd: list[Any] = []
    plain = _plain(value, odd)
    return (rfc8785.dumps(plain) if odd else exact(plain)).decode()


def exact(value: Any) -> bytes:
    """RFC 8785 text of a value without fractions and with ASCII names only; instants as `instant` writes them.

    For those values orjson gives the same text ten times faster (a test compares them).  Raises
    UnicodeEncodeError for a lone surrogate.
    """
    try:
        return orjson.dumps(value, instant, orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=instant).encode()


def instant(moment: datetime) -> str:
    """`2024-05-01T12:00:00.000000Z`: always UTC, always six decimals, so equal instants are equal text."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone: the audit log stores instants")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def link(row: Mapping[str, Any]) -> str:
    """The hash of an event: SHA-256 over the canonical text of its other columns, `rows` and `salt` unless null.

    `body` and `rows` enter as the stored text (a JSON string), not as the value it spells, so that every
    byte of them counts.  Raises ValueError or TypeError on a row that no writer of ours can have made.
    """
    covered = {name: row[name] for name in ("seq", "at", "kind", "actor", "run", "fact", "body", "previous")}
    covered |= {name: row[name] for name in ("rows", "salt") if row.get(name) is not None}
    return hashlib.sha256(exact(covered)).hexdigest()


def _plain(value: Any, odd: list[Any]) -> Any:
    """`value` in JSON's own types; what `exact` has no canonical text for is noted in `odd`.

    Those are fractions, and names that are not ASCII: RFC 8785 sorts names by UTF-16, `exact` by code point.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:  # nearly everything in nearly every event
        return value
    if kind is dict:
        if not all(type(name) is str and name.isascii() for name in value):
            odd.append(value)
        return {str(name): _plain(item, odd) for name, item in value.items()}
    match value:
        case str():
            return value
        case int():
            return value if -_LARGEST_EXACT <= value <= _LARGEST_EXACT else str(value)
        case float():
            if math.isfinite(value):
                odd.append(value)
                return value
            return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
        case datetime():
            return instant(value)
        case date():
            return value.isoformat()
        case Mapping():
            return _plain(dict(value), odd)
        case list() | tuple() | set() | frozenset():
            items = sorted(value) if isinstance(value, (set, frozenset)) else value
            return [_plain(item, odd) for item in items]
    raise TypeError(f"{value!r} cannot be written to the audit log: use plain JSON values")
