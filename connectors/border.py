"""Strict validation of everything a source sends, with limits on bytes, nesting depth and digits.

Every kind of source reads through this module.  A value that passes can be stored in any database,
logged and compared.  A value that does not pass raises `SourceDataError`, and only its row is rejected.

    decode_json     decodes a document whose size, depth and number of parts are bounded
    decode_text     decodes UTF-8
    text_of         converts a cell of a row to text, the same way for every format and database
    well_formed     rejects NUL and lone surrogates, which databases and UTF-8 streams do not accept
    whole_number    parses a bounded number of ASCII digits
    floating        parses a floating-point number whose digits it keeps
    shown           formats any value for a message, shortened and escaped
    escaped         shortens and escapes a message that quotes what a source sent
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from connectors.errors import AnswerTooLarge, SourceDataError

MAX_TEXT = 4_096
"""Maximum characters of one value.  Labels are far shorter, and the admission policy limits them separately."""
MAX_DIGITS = 40
"""Maximum digits of a number that is used as text, such as an id."""
MAX_DEPTH = 32
"""Maximum nesting depth of one JSON document."""
MAX_BYTES = 64 * 2**20
"""Maximum bytes of one JSON document, unless the caller sets another limit."""
MAX_PARTS = 6_000_000
"""Maximum commas and opening brackets in one JSON document, unless the caller sets another limit.

Each decoded part takes many times its length in memory."""
MAX_NUMBER = 2**63 - 1
"""The largest integer that every database stores."""
_EXACT = 2**53
"""Floats from here on do not represent every integer, so an id read as a float could be a different id."""
_SAFE_DIGITS = 15
"""Decimal digits that every float of that length keeps."""
_OBVIOUS = (
    UUID,
    ipaddress.IPv4Address,
    ipaddress.IPv6Address,
    ipaddress.IPv4Network,
    ipaddress.IPv6Network,
    ipaddress.IPv4Interface,
    ipaddress.IPv6Interface,
)
"""Types whose `str` is their usual text form."""
_NOT_STORABLE = re.compile(r"[\x00\ud800-\udfff]")
_DIGITS = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Unusable:
    """Placeholder for a value of a document that cannot be used; `text_of` rejects it."""

    what: str
    kind: str = "no number"
    """Why it is none, for messages."""


def decode_text(data: bytes, what: str) -> str:
    """Decode `data` as UTF-8; a byte order mark at its start is dropped.

    `what` names the data in messages, here and below.  Raises SourceDataError if `data` is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceDataError(f"{what}: not UTF-8 at byte {error.start}") from error


def decode_json(
    data: bytes | str,
    what: str,
    most_bytes: int = MAX_BYTES,
    *,
    most_parts: int | None = MAX_PARTS,
    unique_keys: bool = False,
) -> Any:
    """Decode a JSON document (RFC 8259).

    A number that cannot be used (NaN, Infinity, thousands of digits) is decoded as `Unusable`, and a
    lone surrogate is kept, so that one bad value rejects its row and not the document: `text_of` and
    `well_formed` reject them later.

    Raises AnswerTooLarge beyond `most_bytes` or `most_parts`.  Raises SourceDataError for data that is not
    JSON or is nested deeper than MAX_DEPTH and, with `unique_keys`, for an object with a duplicate key.
    """
    if len(data) > most_bytes:
        raise AnswerTooLarge(f"{what}: {len(data)} bytes of JSON; at most {most_bytes} are read")
    text = decode_text(data, what) if isinstance(data, bytes) else data.removeprefix("\ufeff")
    if most_parts is not None and sum(map(text.count, ",[{")) > most_parts:
        raise AnswerTooLarge(f"{what}: JSON of more than {most_parts} parts")
    try:
        value = json.loads(
            text,
            parse_int=_integer,
            parse_float=floating,
            parse_constant=Unusable,
            object_pairs_hook=_unique if unique_keys else None,
        )
    except RecursionError:
        raise _too_deep(what) from None
    except ValueError as error:
        raise SourceDataError(f"{what}: not valid JSON: {error}") from error
    _require_shallow(value, what)
    return value


def well_formed(text: str, what: str, most: int = MAX_TEXT) -> str:
    """Return `text` unchanged.

    Raises SourceDataError if it has more than `most` characters, or contains NUL or a lone surrogate.
    """
    if len(text) > most:
        raise SourceDataError(f"{what} has {len(text)} characters; at most {most} are read: {shown(text)}")
    if found := _NOT_STORABLE.search(text):
        kind = "NUL" if found[0] == "\x00" else "a lone surrogate"
        raise SourceDataError(f"{what} holds {kind} (U+{ord(found[0]):04X}): {shown(text)}")
    return text


def text_of(value: object, what: str) -> str | None:
    """Convert a scalar from any format or database driver to text; None stays None.

    Whole numbers are written without a decimal point (`42.0` becomes `42`), bytes are decoded as UTF-8,
    instants and dates are written in ISO 8601, and instants with a time zone are converted to UTC.
    Raises SourceDataError, naming the type, for a value without an obvious text form: a container, a
    boolean, a time span, NaN.
    """
    if value is None:
        return None
    if isinstance(value, bytes | bytearray | memoryview):
        return well_formed(_utf8(bytes(value), what), what)
    text = value if isinstance(value, str) else _scalar(value)
    if text is None:
        raise SourceDataError(f"{what} is {shown(value)} ({_kind_of(value)}), not a string or a number")
    return well_formed(str(text), what)


def whole_number(text: str, what: str, most: int = MAX_NUMBER) -> int:
    """Parse ASCII digits as a number.

    Raises SourceDataError for anything else, including signs and spaces, and for a number above `most`.
    """
    if not _DIGITS.fullmatch(text) or int(text) > most:
        raise SourceDataError(f"{what} is {shown(text)}, not a whole number from 0 to {most}")
    return int(text)


def floating(digits: str) -> float | Unusable:
    """The number that `digits` write, or why it cannot be used: two different ids must not become one."""
    value, start = float(digits), digits[:MAX_DIGITS]
    if not math.isfinite(value):
        return Unusable(f"{start}, which is not a finite number")
    if (not value or len(digits) > _SAFE_DIGITS) and Decimal(digits) != Decimal(repr(value)):
        return Unusable(f"{start}, which has more digits than a floating-point number holds")
    return value


def shown(value: object, most: int = 80) -> str:
    """Format `value` for a message: shortened, with unprintable characters escaped.

    Containers are shown by type only, so that deeply nested values are cheap to show.
    """
    if isinstance(value, str | bytes | bytearray):
        return repr(value) if len(value) <= most else f"{value[:most]!r}…"
    if isinstance(value, int):
        return str(value) if value.bit_length() < 256 else f"an integer of {value.bit_length()} bits"
    if isinstance(value, Unusable):
        return value.what
    if value is None or isinstance(value, float | Decimal | date | time | timedelta | UUID):
        return str(value)[:most]
    return f"a value of type {type(value).__name__}"


def escaped(message: object, most: int = 300) -> str:
    """Shorten `message`, such as a parser's error, and escape its unprintable characters."""
    text = str(message)[:most]
    return text if text.isprintable() else repr(text)[1:-1]


def _utf8(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SourceDataError(f"{what} is {len(data)} bytes that are not UTF-8 text") from None


def _scalar(value: object) -> str | None:
    """The text form of a scalar that is not a string; None if there is no obvious one."""
    match value:
        case bool():
            return None
        case int():
            return str(value) if value.bit_length() <= MAX_DIGITS * 3 else None
        case float():
            return _float_text(value)
        case Decimal():
            return _decimal_text(value)
        case datetime():
            return _in_utc(value).isoformat()
        case date() | time():
            return value.isoformat()
    return str(value) if isinstance(value, _OBVIOUS) else None


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC) if value.tzinfo else value
    except OverflowError:  # within a day of the first or the last instant that a datetime can hold
        return value


def _float_text(value: float) -> str | None:
    if not math.isfinite(value) or abs(value) >= _EXACT:
        return None
    return _decimal_text(Decimal(repr(value)))


def _decimal_text(value: Decimal) -> str | None:
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        return None
    if not value:
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _kind_of(value: object) -> str:
    return value.kind if isinstance(value, Unusable) else f"of type {type(value).__name__}"


def _integer(digits: str) -> int | Unusable:
    too_many = len(digits) > MAX_DIGITS
    return Unusable(f"a number of {len(digits)} digits") if too_many else int(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise SourceDataError(f"an object names {shown(name)} twice")
        found[name] = value
    return found


def _require_shallow(value: object, what: str) -> None:
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        containers = [item for item in level if isinstance(item, dict | list)]
        if not containers:
            return
        level = [part for item in containers for part in (item.values() if isinstance(item, dict) else item)]
    raise _too_deep(what)


def _too_deep(what: str) -> SourceDataError:
    return SourceDataError(f"{what}: JSON nested deeper than {MAX_DEPTH} levels")
