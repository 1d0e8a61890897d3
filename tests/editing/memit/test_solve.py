"""Two ways to one solution, and which of them is less work: counted, not timed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import editing.memit.solve
from editing.memit.gram import add_gram, complete
from editing.memit.solve import (
    direct_flops,
    factorise,
    keeps_factor,
    prefers_woodbury,
    solve,
    solve_few,
    woodbury_flops,
)
from editing.memit.statistics import Moments

GPT_J = (16_384, 4_096)
GPT2 = (3_072, 768)


class Counted(TorchDispatchMode):
    """Floating-point operations of matrix products, factorisations and triangular solves inside."""

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name in ("mm", "addmm_"):
            left, right = args[-2:]
            self.flops += 2.0 * left.shape[0] * left.shape[1] * right.shape[1]
        elif name == "linalg_cholesky_ex":
            self.flops += args[0].shape[0] ** 3 / 3
        elif name == "linalg_solve_triangular":
            self.flops += float(args[0].shape[0] ** 2 * args[1].shape[1])
        elif name == "cholesky_solve":
            self.flops += 2.0 * args[1].shape[0] ** 2 * args[0].shape[1]
        return result


def drawn(d_k: int, d: int, n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(E[k kᵀ], Kᵀ, Rᵀ)"""
    generator = torch.Generator().manual_seed(d_k + n)
    text = torch.randn(2 * d_k, d_k, generator=generator, dtype=torch.float64)
    keys = torch.randn(n, d_k, generator=generator, dtype=torch.float64)
    return text.T @ text / len(text), keys, torch.randn(n, d, generator=generator, dtype=torch.float64)


def direct(moment: torch.Tensor, keys: torch.Tensor, residuals: torch.Tensor) -> torch.Tensor:
    normal = torch.zeros_like(moment)
    add_gram(normal, keys)
    return solve(moment, 10.0, complete(normal), keys.T @ residuals)[0]


def cold(
    moment: torch.Tensor, keys: torch.Tensor, residuals: torch.Tensor, file: Path, store: bool = True
) -> torch.Tensor:
    """Woodbury's form with a factor that has still to be computed, and written."""
    factor, _ = Moments(lambda layer: moment.clone(), lambda layer, what: file).factor(0, store=store)
    return solve_few(factor, 10.0, keys, residuals)


@pytest.mark.parametrize(
    ("d_k", "d", "n"), [(64, 16, 1), (64, 64, 7), (96, 200, 24), (128, 32, 128), (300, 8, 90)]
)
def test_both_ways_agree_and_take_the_operations_that_are_counted(
    d_k: int, d: int, n: int, tmp_path: Path
) -> None:
    given = drawn(d_k, d, n)
    with Counted() as plain:
        expected = direct(*given)
    with Counted() as few:
        found = cold(*given, tmp_path / "factor.safetensors")
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert plain.flops == pytest.approx(direct_flops(d_k, d, n), rel=1e-12)
    assert few.flops == pytest.approx(woodbury_flops(d_k, d, n), rel=1e-12)


@pytest.mark.parametrize("byte", [0.0, 1.0, 10.0, 1e9])
def test_the_first_solve_is_never_more_work_than_the_plain_way(
    byte: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations counted as they are run, and the bytes of the factor as they lie there, at their price."""
    monkeypatch.setitem(editing.memit.solve.BYTE_FLOPS, "cpu", byte)
    chosen = []
    for number, size in enumerate([(64, 16, 1), (64, 16, 64), (64, 256, 1), (64, 256, 40), (96, 96, 3)]):
        given, file = drawn(*size), tmp_path / f"{number}.safetensors"
        with Counted() as plain:
            direct(*given)
        woodbury, keeps = prefers_woodbury(*size), keeps_factor(*size, "cpu")
        with Counted() as first:
            if woodbury:
                cold(*given, file, store=keeps)
            else:
                direct(*given)
        written = file.stat().st_size if file.exists() else 0
        header = 1024
        assert first.flops + byte * max(written - header, 0) <= plain.flops
        chosen.append((woodbury, keeps))
    assert {woodbury for woodbury, _ in chosen} == {True, False}
    assert {keeps for _, keeps in chosen} == ({False} if byte > 1e6 else {True, False})


def test_a_wide_model_keeps_a_factor_and_a_small_one_does_not() -> None:
    assert keeps_factor(*GPT_J, 600, "cpu")
    assert not prefers_woodbury(*GPT_J, 60_000), "as many columns as that are not few"
    assert prefers_woodbury(*GPT2, 60)
    assert not keeps_factor(*GPT2, 60, "cpu"), "writing a factor takes longer than it could ever save"
    assert not keeps_factor(*GPT_J, 600, "cuda"), "a device solves faster than a disk writes"


@pytest.mark.parametrize("lam", [1e-4, 1.0, 1e4])
def test_a_ridge_for_scarce_text_does_not_grow_with_the_edits(lam: float) -> None:
    moment, keys, residuals = drawn(64, 16, 5)
    moment[:, :8] = moment[:8] = 0.0  # eight neurons that no text fires
    keys, residuals = keys * 1e3, residuals * 1e3
    found, ridge = solve(moment, lam, keys.T @ keys, keys.T @ residuals)
    assert 0.0 < ridge <= 1e-5 * lam
    factor, own = factorise(moment.clone())
    assert torch.allclose(keys @ found, keys @ solve_few(factor, lam, keys, residuals), rtol=1e-3, atol=1e-3)
    assert own <= 1e-5


def test_a_factor_is_the_same_computed_or_read(tmp_path: Path) -> None:
    moment, keys, residuals = drawn(64, 16, 5)
    file = tmp_path / "factor.safetensors"
    first = cold(moment, keys, residuals, file)
    assert file.exists()
    assert torch.equal(cold(moment, keys, residuals, file), first)
    factor, ridge = factorise(moment.clone())
    assert ridge == 0.0
    assert math.isclose(float((factor @ factor.T - moment).abs().max()), 0.0, abs_tol=1e-12)
