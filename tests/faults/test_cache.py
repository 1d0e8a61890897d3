"""Stale or damaged δs, statistics and prefixes are computed again; what is built does not change by it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.fault_world import World, check_same, check_whole


def flip(path: Path, chance: random.Random) -> None:
    """One bit of one byte, anywhere."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.chmod(0o644)
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def cached(world: World, kind: str) -> list[Path]:
    return sorted(path for path in (world.home.cache / kind).iterdir() if not path.name.startswith("drawn-"))


@pytest.mark.parametrize("harm", [flip, pytest.param(cut, marks=pytest.mark.slow)])
def test_damaged_files_of_the_cache_are_computed_again(harm, world: World, twin: World) -> None:
    chance = random.Random(7)
    files = [path for kind in ("deltas", "stats", "prefixes") for path in cached(world, kind)]
    assert {path.parent.name for path in files} == {"deltas", "stats", "prefixes"}
    assert len(files) >= 5
    for path in files:
        harm(path, chance)
    damaged = {path: path.read_bytes() for path in files}
    assert [state for _, state, _ in world.live_through()] == ["deployed"]
    check_whole(world, started=True)
    # All δs were optimised in one batch now, of other company than the twin's: other last bits, same ledger.
    check_same(world, twin, weights=False)
    used = [path for path in files if path.parent.name != "deltas"]
    assert all(path.read_bytes() != damaged[path] for path in used if path.parent.name == "stats")
    assert all(path.read_bytes() != damaged[path] for path in used if path.parent.name == "prefixes")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "again"),
    [
        ("lr = 0.1", "lr = 0.09", "deltas"),
        ("statistics_tokens = 32", "statistics_tokens = 24", "stats"),
        ("prefix_tokens = 3", "prefix_tokens = 4", "prefixes"),
    ],
)
def test_what_was_computed_for_other_settings_is_not_used(
    old: str, new: str, again: str, world: World
) -> None:
    before = {path.name for path in cached(world, again)}
    world.configure(old, new)
    world.live_through()
    check_whole(world, started=True)
    after = {path.name for path in cached(world, again)}
    assert before < after


@pytest.mark.slow
def test_another_base_shares_nothing(world: World) -> None:
    """The same names, other weights: every δ and every statistic is computed again."""
    import torch
    from transformers import AutoModelForCausalLM

    before = {kind: {path.name for path in cached(world, kind)} for kind in ("deltas", "stats")}
    model = AutoModelForCausalLM.from_pretrained(world.root / "model")
    with torch.no_grad():
        model.transformer.h[0].mlp.c_proj.weight.mul_(1.01)
    model.save_pretrained(world.root / "model")
    world.live_through()
    check_whole(world, started=True)
    state = world.ledger()
    with state.read() as tx:
        assert len({run.base for run in tx.runs()}) == 2
    state.close()
    report = (world.home.run(2) / "round-1" / "report.json").read_text()
    assert '"groups_cached": 0.0' in report
    for kind, names in before.items():
        assert names < {path.name for path in cached(world, kind)}
