"""Printing: results on stdout (a table for people, or JSON), everything else on stderr."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

UNSEEN_WIDTH = 160
"""Columns of a table that goes into a pipe or a file, where nothing tells the width."""

stderr = Console(stderr=True, highlight=False)
stdout = Console(highlight=False, width=None if sys.stdout.isatty() else UNSEEN_WIDTH)


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: dataclasses as objects, instants as ISO 8601, numbers that are none as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def print_json(value: Any) -> None:
    json.dump(plain(value), sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none"
) -> None:
    """A table for people; cells are shown as text, None as nothing."""
    table = Table(
        title=escape(title), title_justify="left", title_style="bold", header_style="dim", expand=False
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(cell(item) for item in row))
        count += 1
    if count:
        stdout.print(table)
    else:
        stdout.print(f"[bold]{escape(title)}[/]: {escape(empty)}")


def cell(value: Any) -> str:
    """One value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return escape(str(value))


def say(message: str) -> None:
    """A line of progress or advice."""
    stderr.print(escape(message), soft_wrap=True)
