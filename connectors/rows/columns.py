"""Rows before they are understood: columns and cells.

This module imports neither pydantic nor a parser, because the process that reads damaged files is started
for each of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from connectors.border import shown
from connectors.errors import SourceDataError

Row = Mapping[str, Any]
"""Column → cell."""
Numbered = tuple[int, Row | SourceDataError]
"""A line number, and its row or the error that rejected the line."""
MAX_NAMES = 500
"""Other names of one entity in one cell."""
_SHOWN_COLUMNS = 20


def require_columns(required: Collection[str], found: Collection[str]) -> None:
    """Raise SourceDataError, naming the columns found, unless all that are required are among them.

    A column that is missing is a mistake; one that is there and empty means "nothing".
    """
    missing = sorted(set(required).difference(found))
    if not missing:
        return
    names = [shown(name).strip("'") for name in list(found)[:_SHOWN_COLUMNS]]
    there = ", ".join(names) + (" …" if len(found) > _SHOWN_COLUMNS else "")
    raise SourceDataError(
        f"has no column {', '.join(missing)}; it has {there or 'none'}. The setting `columns` names "
        'the column of a field: columns = { subject = "…", object = "…" }'
    )
