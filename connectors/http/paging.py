"""Paging that finds a server's limit by halving the page when a response does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from connectors.http.sparql_client import ASK_FOR_LESS

Item = TypeVar("Item")
Result = TypeVar("Result")

_SUCCESSES = 10
"""Number of successful pages after which larger ones are tried again."""


def in_pages(
    items: Sequence[Item], size: int, fetch: Callable[[Sequence[Item], bool], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """(page, fetch(page, splittable)) for consecutive pages that cover `items` in order.

    A page whose answer times out, is cut or is too large is asked for again in halves; after some
    successes it is tried larger again, since failures cost more than requests.  A single item is
    fetched with splittable=False: `fetch` then retries as for any other request, and its error is final.
    """
    start, page, successes = 0, size, 0
    while start < len(items):
        batch = items[start : start + page]
        try:
            result = fetch(batch, len(batch) > 1)
        except ASK_FOR_LESS:
            if len(batch) == 1:
                raise
            page, successes = len(batch) // 2, 0
            continue
        yield batch, result
        start += len(batch)
        successes += 1
        if successes % _SUCCESSES == 0:
            page = min(size, page * 2)
