"""The bundled model knows its world, and MEMIT changes what it knows: the figures promised in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.testbed.quality import Bench
from benchmarks.testbed.tables import DEMO, bench, recommended
from benchmarks.testbed.worlds import real_changes


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench(DEMO / "model", tmp_path_factory.mktemp("cache"))


@pytest.mark.slow
def test_the_bundled_model_recalls_its_facts_in_every_wording(demo: Bench) -> None:
    world = demo.world
    assert len(demo.known) >= 0.98 * len(world.facts)
    others = [demo.case(f, t) for f in world.facts for t in range(1, len(world.templates[f[1]]))]
    right = demo.states(others)
    assert sum(right) >= 0.97 * len(right)


def test_the_bundled_model_has_not_seen_what_changed_later(demo: Bench) -> None:
    changes = real_changes(demo.world)
    assert not any(demo.states([demo.case((e.subject, e.relation, e.new)) for e in changes]))


def test_the_bundled_model_is_small(demo: Bench) -> None:
    weights = Path(DEMO / "model" / "model.safetensors").stat().st_size
    assert weights < 20_000_000


@pytest.mark.slow
def test_thirty_edits_at_once_reach_the_promised_score(demo: Bench) -> None:
    settings, variants = recommended(DEMO / "model")
    quality = demo.judge(demo.counterfactuals(30), settings, variants=variants)
    assert quality.s >= 0.90
    assert quality.strict >= 0.90
    assert quality.others >= 0.97
    assert quality.perplexity < 1.05
