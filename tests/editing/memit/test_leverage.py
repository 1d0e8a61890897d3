"""λ from the leverage of the edited keys: the formula, what an edit realises, and the builds that use it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from editing.json_decode import decode
from editing.memit import tensor_cache
from editing.memit.blocked import MatrixParts
from editing.memit.build import estimate
from editing.memit.leverage import (
    RIDGE,
    blocked_leverages,
    lam_for,
    leverages,
    realised,
    realised_by_all,
)
from editing.memit.panels import panel_width
from editing.memit.preparation import prepare
from editing.memit.solve import solve
from editing.preflight import Preflight, reach
from editing.settings import EditSettings
from kbsync.settings.editing import EditOverrides
from tests.support.builds import SETTINGS, built, inputs
from tests.support.zoo import TEXT, tiny, tokenizer

AUTOMATIC = replace(SETTINGS, lam="auto")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(TEXT * 8), encoding="utf-8")
    return path


def moments(width: int = 12, seed: int = 0) -> torch.Tensor:
    texts = torch.randn(200, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return texts.T @ texts / len(texts)


def some_keys(count: int, width: int = 12) -> torch.Tensor:
    return torch.randn(count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_leverage_is_the_dense_formula() -> None:
    moment, keys = moments(), some_keys(7)
    ridged = moment + RIDGE * moment.diagonal().mean() * torch.eye(12, dtype=torch.float64)
    dense = torch.stack([key @ torch.linalg.inv(ridged) @ key for key in keys])
    before = moment.clone()
    torch.testing.assert_close(leverages(moment, keys), dense, rtol=1e-10, atol=0)
    assert torch.equal(moment, before), "the moments are still needed"


@pytest.mark.parametrize("ridge", [0.0, 0.01])
def test_leverage_by_panels_is_the_dense_one(ridge: float, tmp_path: Path) -> None:
    moment, keys = moments(width=200), some_keys(9, width=200)
    stored = tensor_cache.StoredMatrix(tmp_path / "moment.safetensors", "moment")
    tensor_cache.store(stored.path, {"moment": moment}, {})
    moment.diagonal().add_(ridge * moment.diagonal().mean())
    assert panel_width(200, 0) < 200
    found = blocked_leverages(MatrixParts(stored, 200, ridge), keys, 0, tmp_path)
    torch.testing.assert_close(found, leverages(moment, keys), rtol=1e-9, atol=0)
    assert [path.name for path in tmp_path.iterdir()] == ["moment.safetensors"], "the factor is removed"


@pytest.mark.parametrize("lam", [0.5, 20.0, 3_000.0])
def test_a_single_edit_realises_what_its_leverage_says(lam: float) -> None:
    """Δ k = h / (1 + h) · r, by the solve that every build uses."""
    moment, (key,) = moments(), some_keys(1)
    moment.diagonal().add_(RIDGE * moment.diagonal().mean())
    residual = torch.arange(1.0, 6.0, dtype=torch.float64)
    update, ridge = solve(moment, lam, torch.outer(key, key), torch.outer(key, residual))
    assert ridge == 0
    leverage = float(key @ torch.linalg.inv(moment) @ key)
    torch.testing.assert_close(key @ update, residual * realised(leverage, lam), rtol=1e-9, atol=0)


def test_layers_share_a_residual_as_the_spread_has_it() -> None:
    left, leverage, lam = 1.0, (900.0, 1_500.0, 2_700.0), 1_000.0
    for remaining, one in zip((3, 2, 1), leverage, strict=True):
        left -= left / remaining * one / (one + lam)
    assert realised_by_all(leverage, lam) == pytest.approx(1 - left)


@pytest.mark.parametrize(
    "by_layer", [{3: 2_000.0}, {0: 2_028.0, 1: 1_610.0}, dict.fromkeys(range(4, 9), 25.0)]
)
@pytest.mark.parametrize("share", [0.3, 0.94])
def test_lambda_realises_the_share_that_was_asked_for(by_layer: dict[int, float], share: float) -> None:
    lam = lam_for(by_layer, share)
    assert realised_by_all(list(by_layer.values()), lam) == pytest.approx(share, rel=5e-3)
    assert lam_for({layer: 10 * one for layer, one in by_layer.items()}, share) == pytest.approx(
        10 * lam, 1e-2
    )


def test_lambda_of_keys_without_leverage_is_refused() -> None:
    with pytest.raises(ValueError, match="leverages have to be positive"):
        lam_for({0: 0.0, 1: 3.0})


def test_a_build_finds_lambda_and_says_what_it_was(tmp_path: Path, corpus: Path) -> None:
    result = built(tmp_path, corpus, settings=AUTOMATIC)
    cost = result.cost
    assert cost.lam == lam_for(cost.leverage)
    assert set(cost.leverage) == {1, 2}
    entries = cost.entries()
    assert entries["lam"] == cost.lam
    assert entries["leverage_2"] == cost.leverage[2]
    assert type(cost).from_json(json.loads(json.dumps(entries)), "cost") == cost
    fixed = built(tmp_path, corpus, settings=replace(SETTINGS, lam=cost.lam))
    assert all(torch.equal(fixed.tensors[name], tensor) for name, tensor in result.tensors.items())


def test_where_the_solve_is_blocked_lambda_is_found_by_panels_and_the_preflight_says_so(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense: list[Preflight] = []
    expected = built(tmp_path, corpus, settings=AUTOMATIC, planned=dense.append)
    for module in ("cost", "solvers"):
        monkeypatch.setattr(f"editing.memit.{module}.solve_bytes", lambda device: 1000)
    monkeypatch.setattr("editing.memit.scale.leverages", None)
    blocked: list[Preflight] = []
    found = built(tmp_path, corpus, settings=AUTOMATIC, planned=blocked.append)
    assert found.cost.lam == expected.cost.lam
    assert found.cost.leverage == expected.cost.leverage
    assert (dense[0].blocked, blocked[0].blocked) == (0, 2)
    assert blocked[0].lam == expected.cost.lam
    assert "2 layers solved by panels" in dict(blocked[0].lines())["memory"]
    assert "panels" not in dict(dense[0].lines())["memory"]


def test_the_forecast_of_a_blocked_solve_holds_panels_instead_of_matrices(
    tmp_path: Path, corpus: Path
) -> None:
    job = prepare(tiny("llama", intermediate_size=512), tokenizer("byte-bpe"), inputs(tmp_path, corpus), None)
    budget = 2 << 20
    assert not job.work.blocked
    blocked = replace(job.work, solve_budget=budget)
    assert blocked.blocked == 2
    saved = job.work.memory()["solve"] - blocked.memory()["solve"]
    columns, d_k = job.work.columns, 512
    assert saved == 28 * d_k**2 + 24 * columns * d_k - (
        budget // 2 // (8 * 3 * d_k) * 8 * 3 * d_k + 16 * columns * d_k
    )
    assert blocked.disk()[0] - job.work.disk()[0] == 4 * d_k**2


def test_lambda_is_no_part_of_what_a_delta_depends_on(tmp_path: Path, corpus: Path) -> None:
    first = built(tmp_path, corpus)
    for lam in ("auto", 7.0):
        again = built(tmp_path, corpus, settings=replace(SETTINGS, lam=lam))
        assert again.deltas.keys() == first.deltas.keys()
        assert again.cost.groups_optimised == 0


def test_a_preflight_says_what_an_edit_reaches_once_the_statistics_are_known(
    tmp_path: Path, corpus: Path
) -> None:
    asked = tiny("llama", dtype=torch.float32), tokenizer("byte-bpe")
    unknown = estimate(*asked, inputs(tmp_path, corpus, settings=AUTOMATIC))
    assert (unknown.lam, unknown.realised) == (0.0, 0.0)
    assert "lambda" not in dict(unknown.lines())
    lam = built(tmp_path, corpus, settings=AUTOMATIC).cost.lam
    known = estimate(*asked, inputs(tmp_path, corpus, settings=AUTOMATIC))
    assert known.lam == lam
    assert 0.5 < known.realised < 1
    assert "realises" in dict(known.lines())["lambda"]
    far = estimate(*asked, inputs(tmp_path, corpus, settings=replace(SETTINGS, lam=100 * lam)))
    assert "facts are unlikely to take" in dict(far.lines())["lambda"]
    assert Preflight.from_entries(far.entries()) == far


def test_a_report_without_lambda_is_still_read() -> None:
    written = {
        f"preflight_{name}": float(value)
        for name, value in asdict(
            Preflight(3, 1, 0, 1e9, 1, 2, 3, 4, 1.0, 0.0, 2.0, 1e9, 3, bytes_cache=5)
        ).items()
        if name not in ("lam", "realised")
    }
    read = Preflight.from_entries(written)
    assert read is not None
    assert (read.bytes_cache, read.lam) == (5, 0.0)


@pytest.mark.parametrize(("share", "warns"), [(0.06, True), (0.29, True), (0.31, False), (0.9, False)])
def test_a_lambda_that_lets_an_edit_reach_little_is_named(share: float, warns: bool) -> None:
    assert reach(15_000, share).startswith(f"at lam = 15000 an edit realises {share:.0%}")
    assert ("unlikely to take" in reach(15_000, share)) == warns


def test_lambda_is_a_number_or_auto_wherever_settings_are_read() -> None:
    assert EditSettings().lam == "auto"
    assert decode(EditSettings, {"lam": "auto"}, "spec").lam == "auto"
    assert decode(EditSettings, {"lam": 20}, "spec").lam == 20.0
    assert EditOverrides(lam="auto").over(EditSettings(lam=3.0)).lam == "auto"
    assert EditOverrides(lam=200).over(EditSettings()).lam == 200.0
    for wrong in (0, -1, "much"):
        with pytest.raises(ValueError, match="lam"):
            EditOverrides(lam=wrong)
