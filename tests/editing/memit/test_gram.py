"""Sums of K Kᵀ from half of the products: equal to the whole, and symmetric bit for bit."""

from __future__ import annotations

import pytest
import torch

from editing.memit.gram import BLOCK, add_gram, complete, gram_flops


@pytest.mark.parametrize("width", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_sum_is_that_of_the_whole_products_and_symmetric(width: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(width)
    parts = [torch.randn(n, width, generator=generator, dtype=dtype) for n in (3, 40)]
    total = torch.zeros(width, width, dtype=torch.float64)
    for rows in parts:
        add_gram(total, rows)
    whole = torch.cat(parts).double()
    assert torch.equal(complete(total), total.T)
    assert torch.allclose(total, whole.T @ whole, atol=1e-4 if dtype == torch.float32 else 1e-12)


def test_a_sum_that_was_completed_can_be_added_to() -> None:
    """As when an interrupted pass resumes from sums that an earlier version saved."""
    width = 2 * BLOCK + 1
    first, second = torch.randn(2, 5, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = torch.zeros(width, width, dtype=torch.float64)
    add_gram(total, first)
    add_gram(complete(total), second)
    assert torch.allclose(complete(total), first.T @ first + second.T @ second, atol=1e-12)


def test_with_many_blocks_nearly_half_of_the_operations_are_saved() -> None:
    assert gram_flops(BLOCK, 10) == 2 * 10 * BLOCK**2
    assert gram_flops(64 * BLOCK, 10) / (2 * 10 * (64 * BLOCK) ** 2) == pytest.approx(0.5 * (1 + 1 / 64))
