"""Batches of texts of different lengths."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from editing.model.inference import for_each_batch
from tests.support.tiny_models import gpt2


@pytest.mark.parametrize(
    ("extra", "batches"),
    [
        pytest.param(0, [[4, 4, 4], [20, 20]], id="the padding of a pass costs more than another one"),
        pytest.param(100, [[4, 4, 4, 20, 20]], id="the padding costs less than a hundred passes"),
    ],
)
def test_texts_of_different_lengths_share_a_batch_where_that_saves_passes(
    extra: int, batches: list[list[int]]
) -> None:
    found: list[list[int]] = []

    def run(batch: Sequence[int]) -> None:
        found.append(list(batch))

    for_each_batch(gpt2(), [20, 4, 4, 20, 4], lambda length: length, run, extra=extra)
    assert found == batches
