"""Lists a page at a time, each page at a cost that does not grow with the ledger.

A page begins after a row that the last page ended with, never at an offset, so that rows which are written in between
neither repeat nor hide others.  Where no index leads straight to the rows that a filter wants, a page examines at most
`EXAMINED` rows and says where the next one goes on: it may then have fewer rows than were asked for, or none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Row = TypeVar("Row")

FEW = 2_000
"""Rows that are rather all looked at and sorted than sought among all others."""
EXAMINED = 200_000
"""Rows that one page looks through at most: about a tenth of a second."""
_FIRST, _GROWTH = 1_024, 8


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Rows of a list, and where it goes on."""

    rows: tuple[Row, ...]
    next: int | None
    """The number after which (in a list that begins with the newest: before which) the next page begins; None: this
    is the last page."""


def page_of(rows: tuple[Row, ...], limit: int, last: int | None, examined: int | None = None) -> Page[Row]:
    """A page of `limit` of these rows, of which one more was asked for.

    `last`: the number of the row that is the last of a full page.  `examined`: how far the rows were looked through
    without finding enough; None: to their end.
    """
    return Page(rows[:limit], last) if len(rows) > limit else Page(rows, examined)


def cut(rows: Sequence[Row], limit: int, number: Callable[[Row], int]) -> Page[Row]:
    """A page of `limit` of these rows, of which one more was read to see whether there are more."""
    shown = tuple(rows[:limit])
    return Page(shown, number(shown[-1]) if len(rows) > limit else None)


def filled(read: Callable[[int | None, int], Page[Row]], start: int | None, limit: int) -> Page[Row]:
    """A page of `limit` rows, for which the list is looked through to its end if need be.

    `read(start, limit)` gives at most `limit` rows from `start` on, and fewer where it examined enough.
    """
    rows: tuple[Row, ...] = ()
    while True:
        part = read(start, limit - len(rows))
        rows, start = (*rows, *part.rows), part.next
        if start is None or len(rows) >= limit:
            return Page(rows, start)


def windows(size: int = EXAMINED) -> Iterator[int]:
    """Numbers of rows to look through one after the other, each time more, `size` together."""
    step = _FIRST
    while size > 0:
        yield min(step, size)
        size -= step
        step *= _GROWTH
