"""Serialised cursors: JSON that names its format, so that a foreign cursor is rejected, not misread."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import pydantic

from connectors.border import decode_json, escaped
from connectors.errors import SourceDataError

Cursor = TypeVar("Cursor")
HELD = "held"
"""The member of a cursor that has the slots that a source held when it was read whole, packed."""
_ADAPTERS: dict[type[Any], pydantic.TypeAdapter[Any]] = {}
_MAX_BYTES = 2**30
"""Maximum size of a cursor, compressed or not; a cursor of ten million slots takes half of this."""


def dump_cursor(format: int, fields: Mapping[str, object]) -> str:
    """Serialise a cursor to canonical text: equal cursors give equal strings."""
    return json.dumps({"format": format, **fields}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load_cursor(
    text: str | None, format: int, make: Callable[..., Cursor], required: Iterable[str]
) -> Cursor:
    """Return `make()` if there is no cursor, else `make(**fields)`.

    Raises SourceDataError for text that `dump_cursor` did not write in this format with these fields.
    """
    if text is None:
        return make()
    try:
        fields: dict[str, Any] = decode_json(text, "cursor", _MAX_BYTES, most_parts=None)
        if (found := fields.pop("format")) != format:
            raise ValueError(f"format {found}")
        if missing := sorted(set(required) - fields.keys()):
            raise ValueError(f"without {missing[0]}")
        return make(**fields)
    except (SourceDataError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise SourceDataError(
            f"the stored cursor was not written by this connector ({escaped(repr(error))}); "
            "clear it to read everything again"
        ) from error


def typed(cls: type[Cursor]) -> Callable[..., Cursor]:
    """A validating constructor for a dataclass; it raises ValueError for a field of the wrong type."""
    if cls not in _ADAPTERS:
        _ADAPTERS[cls] = pydantic.TypeAdapter(cls)
    adapter: pydantic.TypeAdapter[Cursor] = _ADAPTERS[cls]
    return lambda **fields: adapter.validate_python(fields)


def pack(text: str) -> str:
    """Compress `text` to a string for a cursor."""
    return base64.b85encode(zlib.compress(text.encode(), 6)).decode()


def without_subjects(cursor: str, barred: Callable[[frozenset[str]], frozenset[str]]) -> str:
    """The cursor without the subjects that `barred` names, in the packed list of rows that it may have.

    Their slots are new to the next reading.  A cursor without such a list stays as it is.
    """
    try:
        fields: dict[str, Any] = decode_json(cursor, "cursor", _MAX_BYTES, most_parts=None)
        rows = decode_json(unpack(fields[HELD]), HELD, _MAX_BYTES, most_parts=None)
    except (SourceDataError, LookupError, ValueError, TypeError, AttributeError):
        return cursor
    gone = barred(frozenset(row[0] for row in rows))
    if not gone:
        return cursor
    left = [row for row in rows if row[0] not in gone]
    fields[HELD] = pack(json.dumps(left, separators=(",", ":")))
    return dump_cursor(fields.pop("format"), fields)


def unpack(packed: str) -> str:
    """The inverse of `pack`.  Raises ValueError for text that `pack` did not write."""
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(base64.b85decode(packed), _MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"not packed text: {error}") from error
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise ValueError("not packed text: truncated, or too long")
    return text.decode()
