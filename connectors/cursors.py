"""The text of a cursor: JSON that names its format, so that one from elsewhere is refused, not misread."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from connectors.errors import SourceDataError

Cursor = TypeVar("Cursor")


def dump_cursor(format: int, fields: Mapping[str, object]) -> str:
    """Canonical text: equal cursors are equal strings."""
    told = {"format": format, **fields}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load_cursor(
    text: str | None, format: int, make: Callable[..., Cursor], required: Iterable[str]
) -> Cursor:
    """`make()` for no cursor, else `make(**fields)`.

    Raises SourceDataError for a text that `dump_cursor` has not written in this format, with these fields.
    """
    if text is None:
        return make()
    try:
        fields: dict[str, Any] = json.loads(text)
        if (found := fields.pop("format")) != format:
            raise ValueError(f"format {found}")
        if missing := sorted(set(required) - fields.keys()):
            raise ValueError(f"without {missing[0]}")
        return make(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
        raise SourceDataError(
            f"the stored cursor is none of this connector's ({error!r}); clear it to read all anew"
        ) from error
