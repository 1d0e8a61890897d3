"""Daily batches: an interrupted sequence carries on to the same end, and the base stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from editing.calibration.knowledge import knowledge
from editing.calibration.statements import from_records
from editing.datasets import read_records
from editing.settings import EditSettings
from editing.storage.base_import import import_base
from editing.storage.loaded import LoadedBase, load_base
from kbsync.experiments.calendar import EditDay, calendar
from kbsync.experiments.cases import EditCase, counterfactual_cases
from kbsync.experiments.measuring import Bench
from kbsync.experiments.walking import DayScores, Walk, Way

SETTINGS = EditSettings(
    layers=(0, 1), prefixes=1, steps=6, optimiser="lbfgs", statistics_samples=20, lam=50.0
)
JUDGED = frozenset({4, 8})


@pytest.fixture(scope="module")
def base(taught_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedBase, Path]:
    _, imported = import_base(taught_model, tmp_path_factory.mktemp("base"))
    return load_base(imported), taught_model.parent / "text.txt"


@pytest.fixture(scope="module")
def cases(base: tuple[LoadedBase, Path]) -> tuple[EditCase, ...]:
    loaded, text = base
    statements = from_records(read_records(text.parent / "facts.jsonl"))
    return counterfactual_cases(knowledge(loaded.model, loaded.tokenizer, statements).known, seed=0, most=10)


@pytest.fixture
def bench(base: tuple[LoadedBase, Path], tmp_path: Path) -> Bench:
    loaded, text = base
    return Bench(loaded, tmp_path, (text,), text)


def days_of(cases: tuple[EditCase, ...]) -> list[EditDay]:
    return calendar(cases, seed=0, days=8)


def walk(bench: Bench, cases: tuple[EditCase, ...], way: Way) -> list[DayScores]:
    return Walk(bench, way, SETTINGS, 0, days_of(cases), JUDGED).run()


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(Way("rebuilt", "memit", rebuild=True), id="rebuilt"),
        pytest.param(Way("stacked", "memit"), id="stacked", marks=pytest.mark.slow),
        pytest.param(Way("kept", "memit", preserves=True), id="kept", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_an_interrupted_sequence_carries_on_to_the_same_end(
    way: Way, bench: Bench, cases: tuple[EditCase, ...], tmp_path: Path, base: tuple[LoadedBase, Path]
) -> None:
    loaded, text = base
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    whole = walk(Bench(loaded, tmp_path / "other", (text,), text), cases, way)
    assert [one.day for one in whole] == sorted(JUDGED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "after", stops_after(Walk.after, day=5))
        with pytest.raises(KeyboardInterrupt):
            walk(bench, cases, way)
    assert all(tensor.equal(before[name]) for name, tensor in loaded.model.state_dict().items())
    again = walk(bench, cases, way)
    for one, other in zip(again, whole, strict=True):
        assert (one.day, one.wanted, one.reverted) == (other.day, other.wanted, other.reverted)
        assert [fact.strict for fact in one.scores.facts] == [fact.strict for fact in other.scores.facts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Walk, "after", stops_after(Walk.after, day=0))
        assert walk(bench, cases, way) == again  # nothing is computed again


def stops_after(real: Callable[..., object], day: int) -> Callable[..., object]:
    def after(self: Walk, today: EditDay, weights: object) -> object:
        if today.number > day:
            raise KeyboardInterrupt
        return real(self, today, weights)

    return after
