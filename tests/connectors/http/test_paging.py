"""Pages that do not fit are halved; nothing is skipped and nothing asked for twice in vain."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.errors import SourceTimeout, TruncatedAnswer
from connectors.http.paging import in_pages


@given(count=st.integers(0, 80), size=st.integers(1, 40), fits=st.integers(1, 40))
def test_every_item_comes_once_and_in_order_whatever_fits(count: int, size: int, fits: int) -> None:
    asked = 0

    def fetch(batch: Sequence[int], splittable: bool) -> list[int]:
        nonlocal asked
        asked += 1
        assert splittable == (len(batch) > 1)
        if len(batch) > fits:
            raise TruncatedAnswer("cut")
        return list(batch)

    found = [item for _, page in in_pages(range(count), size, fetch) for item in page]
    assert found == list(range(count))
    assert asked <= 3 * (count / max(1, min(fits, size) // 2)) + 10


def test_a_single_item_that_does_not_fit_is_an_error() -> None:
    def fetch(batch: Sequence[int], splittable: bool) -> list[int]:
        if 3 in batch:
            raise SourceTimeout("too slow")
        return list(batch)

    pages = in_pages(range(6), 4, fetch)
    assert [list(batch) for batch, _ in (next(pages), next(pages))] == [[0, 1], [2]]
    with pytest.raises(SourceTimeout):
        next(pages)
