"""Updates of limited rank: the best ones in the metric of the solve, and exact where the rank is enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from editing.memit.build import estimate
from editing.memit.low_rank import best_fit
from editing.preflight import exactness
from tests.support.builds import SETTINGS, built, inputs
from tests.support.zoo import TEXT, tiny, tokenizer

WIDTH, OUT, COLUMNS = 12, 7, 20


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def problem(columns: int = COLUMNS) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(M, K Rᵀ, Δᵀ) of a layer whose keys differ much in how usual they are."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    keys, residuals, text = random(WIDTH, columns), random(OUT, columns), random(WIDTH, 40)
    text *= torch.logspace(-2, 2, WIDTH, dtype=torch.float64)[:, None]
    normal = text @ text.T + keys @ keys.T
    cross = keys @ residuals.T
    return normal, cross, torch.linalg.solve(normal, cross)


def distance(normal: torch.Tensor, one: torch.Tensor, other: torch.Tensor) -> float:
    """‖(Δ − Δ*) M^½‖ of two Δᵀ."""
    return float(torch.trace((one - other).T @ normal @ (one - other)).sqrt())


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_fit_is_the_whitened_decomposition_of_that_rank(rank: int) -> None:
    normal, cross, update = problem()
    fitted, fit = best_fit(update, cross, rank)
    assert torch.linalg.matrix_rank(fitted) == rank
    root = torch.linalg.cholesky(normal)
    u, values, v = torch.linalg.svd(update.T @ root, full_matrices=False)
    whitened = (u[:, :rank] * values[:rank]) @ v[:rank] @ torch.linalg.inv(root)
    torch.testing.assert_close(fitted.T, whitened, rtol=1e-8, atol=1e-10)
    assert fit.needed == OUT
    assert fit.error == pytest.approx(float(values[rank:].norm() / values.norm()), rel=1e-9)
    plain_u, plain, plain_v = torch.linalg.svd(update, full_matrices=False)
    closest = (plain_u[:, :rank] * plain[:rank]) @ plain_v[:rank]
    assert distance(normal, fitted, update) < distance(normal, closest, update)


def test_a_rank_that_is_enough_changes_nothing() -> None:
    _, cross, update = problem(columns=3)
    fitted, fit = best_fit(update, cross, 3)
    assert fitted is update
    assert (fit.needed, fit.error) == (3, 0.0)


def test_a_build_has_updates_of_that_rank_and_says_what_they_lack(tmp_path: Path, corpus: Path) -> None:
    cache = tmp_path / "cache"
    exact = built(cache, corpus)
    model = tiny("llama", dtype=torch.float32)
    before = dict(model.named_parameters())
    limited = built(cache, corpus, model=model, max_rank=2)
    first, last = SETTINGS.layers
    assert limited.cost.ranks[first] == 4, "one δ for each of four facts, whatever the context"
    assert 4 < limited.cost.ranks[last] <= 12, "what is left of it differs between the three contexts"
    assert all(0 < error < 1 for error in limited.cost.misfits.values())
    for name, after in limited.tensors.items():
        values = torch.linalg.svdvals(after.double() - before[name].detach().double())
        assert float(values[2]) < 1e-4 * float(values[0])
    enough = built(cache, corpus, max_rank=12)
    assert not any(enough.cost.misfits.values())
    assert all(torch.equal(enough.tensors[name], one) for name, one in exact.tensors.items())


def test_the_preflight_says_up_to_where_an_adapter_is_exact(tmp_path: Path, corpus: Path) -> None:
    model, words = tiny("llama", dtype=torch.float32), tokenizer("byte-bpe")
    found = dict(estimate(model, words, inputs(tmp_path, corpus, max_rank=8)).lines())
    assert found["adapter"] == (
        'rank 8 is exact up to 2 key groups with 3 keys each, or with [edit] keys = "average" up to 8; '
        "4 are fitted as well as that rank can"
    )
    assert "adapter" not in dict(estimate(model, words, inputs(tmp_path, corpus)).lines())
    assert exactness(85, 6, 512) == "rank 512 is exact up to 85 key groups with 6 keys each"
