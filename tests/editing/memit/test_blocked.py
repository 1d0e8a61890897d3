"""A solve within a budget: the dense one's result, without ever holding a matrix of its size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from editing.errors import NumericalError
from editing.memit import tensor_cache
from editing.memit.blocked import BlockedSystem, MatrixParts, exceeds
from editing.memit.panels import HELD, NARROWEST, factorise_panels, panel_width
from editing.memit.solve import solve, solve_few
from editing.model.prefix_cache import deviation
from tests.support.builds import REQUESTS, SETTINGS, built
from tests.support.zoo import TEXT, tiny

D_K, D, LAM = 320, 24, 10.0


class Largest(TorchDispatchMode):
    """The number of bytes of the largest tensor that an operation inside allocates."""

    bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.from_file.default:  # mapped, not allocated
            return result
        given = {
            one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)
        }
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in given and one.numel():
                self.bytes = max(self.bytes, one.untyped_storage().nbytes())
        return result


def drawn(n: int, scratch: Path, ridge: float = 0.0) -> tuple[MatrixParts, Tensor, Tensor, Tensor]:
    """(E[k kᵀ] in a file, the same as a tensor, Kᵀ [n, d_k], Rᵀ [n, d])."""
    generator = torch.Generator().manual_seed(n)
    text = torch.randn(2 * D_K, D_K, generator=generator, dtype=torch.float64)
    moment = text.T @ text / len(text)
    stored = tensor_cache.StoredMatrix(scratch / "moment.safetensors", "moment")
    tensor_cache.store(stored.path, {"moment": moment}, {"tokens": "1"})
    keys = torch.randn(n, D_K, generator=generator, dtype=torch.float64)
    residuals = torch.randn(n, D, generator=generator, dtype=torch.float64)
    moment.diagonal().add_(ridge * moment.diagonal().mean())
    return MatrixParts(stored, D_K, ridge), moment, keys, residuals


def system(parts: MatrixParts, budget: float, scratch: Path) -> BlockedSystem:
    return BlockedSystem(parts.columns, parts.size, parts.mean, budget, scratch)


BUDGET = HELD * 8 * D_K * NARROWEST


@pytest.mark.parametrize("ridge", [0.0, 1e-3])
@pytest.mark.parametrize("n", [1, 40, 319])
def test_few_columns(n: int, ridge: float, tmp_path: Path) -> None:
    parts, moment, keys, residuals = drawn(n, tmp_path, ridge)
    expected = solve_few(torch.linalg.cholesky(moment), LAM, keys, residuals)
    found, used = system(parts, BUDGET, tmp_path).few(LAM, keys, residuals)
    assert deviation(found, expected) <= 1e-10
    assert used == 0.0


@pytest.mark.parametrize("n", [40, 700])
def test_many_columns(n: int, tmp_path: Path) -> None:
    parts, moment, keys, residuals = drawn(n, tmp_path)
    kept = keys[:7] * 2
    every = torch.cat([keys, kept])
    expected, _ = solve(moment, LAM, every.T @ every, keys.T @ residuals)
    found, used = system(parts, BUDGET, tmp_path).many(LAM, keys, keys.T @ residuals, kept)
    assert deviation(found, expected) <= 1e-10
    assert used == 0.0
    assert [path.name for path in tmp_path.iterdir()] == ["moment.safetensors"], "the factor is removed"


def test_no_allocation_is_larger_than_a_panel(tmp_path: Path) -> None:
    parts, moment, keys, residuals = drawn(40, tmp_path)
    cross = keys.T @ residuals
    with Largest() as blocked:
        system(parts, BUDGET, tmp_path).few(LAM, keys, residuals)
        system(parts, BUDGET, tmp_path).many(LAM, keys, cross)
    with Largest() as dense:
        solve(moment, LAM, keys.T @ keys, keys.T @ residuals)
    assert blocked.bytes <= BUDGET / HELD < dense.bytes == 8 * D_K**2


def test_a_singular_matrix_gets_the_smallest_ridge_with_which_it_has_a_factor(tmp_path: Path) -> None:
    moment = torch.zeros(D_K, D_K, dtype=torch.float64)
    moment[: D_K // 2, : D_K // 2] = torch.eye(D_K // 2)

    def part(first: int, end: int) -> Tensor:
        return moment[first:, first:end].clone()

    keys, residuals = torch.ones(2, D_K, dtype=torch.float64), torch.ones(2, D, dtype=torch.float64)
    keys[1, 3] = -1.0
    _, ridge = BlockedSystem(part, D_K, 0.5, BUDGET, tmp_path).few(LAM, keys, residuals)
    assert ridge == pytest.approx(LAM * 0.5e-10)
    with pytest.raises(NumericalError, match="raise lam"):
        BlockedSystem(lambda *at: -part(*at), D_K, 0.5, BUDGET, tmp_path).few(LAM, keys, residuals)


@pytest.mark.parametrize(("size", "width"), [(50, 7), (64, 64), (65, 64), (1, 1)])
def test_panels_of_any_width(size: int, width: int, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(size)
    text = torch.randn(2 * size, size, generator=generator, dtype=torch.float64)
    matrix = text.T @ text
    factor = factorise_panels(lambda i, j: matrix[i:, i:j].clone(), size, tmp_path / "factor", width)
    assert factor is not None
    right = torch.randn(size, 3, generator=generator, dtype=torch.float64)
    found = right.clone()
    factor.forward(found)
    factor.backward(found)
    assert deviation(found, torch.linalg.solve(matrix, right)) <= 1e-10


def test_the_budget_chooses_the_width_and_the_way() -> None:
    assert panel_width(28_672, 2 << 30) == (2 << 30) // (HELD * 8 * 28_672)
    assert panel_width(28_672, 0) == NARROWEST
    assert panel_width(100, 1 << 40) == 100
    assert exceeds(28_672, 8_192, 12 << 30)
    assert not exceeds(16_384, 4_096, 12 << 30)


def test_damaged_moments_count_as_absent(tmp_path: Path) -> None:
    parts, *_ = drawn(2, tmp_path)
    assert parts.stored.size() == D_K
    content = bytearray(parts.stored.path.read_bytes())
    content[-100] ^= 1
    parts.stored.path.write_bytes(content)
    assert parts.stored.size() is None
    assert not parts.stored.path.exists()


@pytest.mark.parametrize("count", [1, 4])
def test_a_build_with_little_memory_gives_what_others_do(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("\n".join(TEXT * 8), encoding="utf-8")
    # Four requests with three contexts each are more columns than d_k has rows here.
    settings = replace(SETTINGS, keys="all", steps=3, ridge=1e-3, prefixes=20, keep=0.5)
    model = tiny("llama", dtype=torch.float64, intermediate_size=48)
    given: dict[str, Any] = {"model": model, "kept": [("{} was born in", "Ludwig")]}
    expected = built(tmp_path, corpus, REQUESTS[:count], settings, **given)
    monkeypatch.setattr("editing.memit.solvers.solve_bytes", lambda device: 1000)
    monkeypatch.setattr("editing.memit.solvers.solve", None)
    monkeypatch.setattr("editing.memit.solvers.solve_few", None)
    found = built(tmp_path, corpus, REQUESTS[:count], settings, **given)
    for name, tensor in expected.tensors.items():
        assert deviation(found.tensors[name], tensor) <= 1e-10
    limited = built(tmp_path, corpus, REQUESTS[:count], settings, max_rank=2, **given)
    assert all(limited.cost.misfits.values()) == (count == 4)
