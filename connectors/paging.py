"""Ask for less when an answer does not fit: a server's limit is found by halving, not by configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from connectors.sparql_client import ASK_FOR_LESS

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_pages(
    items: Sequence[Item], size: int, fetch: Callable[[Sequence[Item], bool], Result]
) -> Iterator[tuple[Sequence[Item], Result]]:
    """(page, fetch(page, splittable)) for consecutive pages that cover `items` in order.

    A page whose answer times out, is cut or is too large is asked for again in halves; after a
    success the page grows back towards `size`.  A single item is fetched with splittable=False:
    `fetch` then retries as for any other request, and its error is final.
    """
    start, page = 0, size
    while start < len(items):
        batch = items[start : start + page]
        try:
            result = fetch(batch, len(batch) > 1)
        except ASK_FOR_LESS:
            if len(batch) == 1:
                raise
            page = len(batch) // 2
            continue
        yield batch, result
        start += len(batch)
        page = min(size, page * 2)
