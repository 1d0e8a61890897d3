"""An experiment's time: what is measured by then is reported, nothing else is stored, and processes divide the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from editing.calibration.kept import Kept
from editing.durable import file_lock
from editing.settings import EditSettings
from editing.storage.loaded import LoadedBase
from kbsync.experiments.limits import UNMEASURED, OutOfTime, TimeLimit, in_time
from kbsync.experiments.measuring import Bench, EditTrial
from kbsync.experiments.scaling import comparisons
from kbsync.experiments.scores import FactScores, TrialScores
from kbsync.experiments.setup import Series, Setup, run


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_progress_is_passed_on_until_the_time_is_up() -> None:
    clock, told = Clock(), []
    limit = TimeLimit(0.5, clock)
    tell = limit.watched(lambda *what: told.append(what))
    clock.now = 29.0
    tell("targets", 1, 2)
    clock.now = 30.0
    with pytest.raises(OutOfTime):
        tell("targets", 2, 2)
    assert told == [("targets", 1, 2)]
    assert limit.is_up
    assert not TimeLimit(None, clock).is_up
    assert TimeLimit(0, clock).is_up


class PlainBench(Bench):
    """A bench whose trials take a second each, without a model."""

    def __init__(self, cache: Path, limit: TimeLimit, clock: Clock) -> None:
        base = cast(LoadedBase, SimpleNamespace(digest="base"))
        super().__init__(base, cache, (), None, limit=limit)
        object.__setattr__(self, "passing", clock)
        object.__setattr__(self, "measured", [])

    passing: Clock
    measured: list[float]

    def identity(self, settings: EditSettings) -> dict[str, Any]:
        return {}

    def _identity(self, trial: EditTrial) -> dict[str, Any]:
        return {"at": trial.at, "seed": trial.seed}

    def _scores(self, trial: EditTrial) -> TrialScores:
        if self.limit.is_up:
            raise OutOfTime
        self.measured.append(float(trial.at))
        self.passing.now += 1.0
        return scores(float(trial.at))


def scores(value: float, count: int = 3) -> TrialScores:
    one = FactScores("", "", value, value, value, value, None, None, value, None, None)
    return TrialScores(tuple(replace(one, id=str(n)) for n in range(count)))


def trial(at: float, seed: int = 0, line: str = "memit") -> EditTrial:
    return EditTrial(line, EditSettings(), (), at, seed=seed)


def test_what_the_time_does_not_suffice_for_is_left_out_and_measured_next_time(tmp_path: Path) -> None:
    clock = Clock()
    bench = PlainBench(tmp_path, TimeLimit(2 / 60, clock), clock)
    trials = [trial(0.1), trial(0.2), trial(0.3)]
    found = bench.run(trials)
    assert [one.error for one in found] == ["", "", UNMEASURED]
    assert len(bench.limit.left_out) == 1
    again = PlainBench(tmp_path, TimeLimit(None, clock), clock)
    assert [one.error for one in again.run(trials)] == [""] * 3
    assert again.measured == [0.3]


def test_no_time_reports_what_is_stored(tmp_path: Path) -> None:
    clock = Clock()
    PlainBench(tmp_path, TimeLimit(None, clock), clock).run([trial(0.1)])
    bench = PlainBench(tmp_path, TimeLimit(0, clock), clock)
    stored, missing = bench.run([trial(0.1), trial(0.2)])
    assert stored == scores(0.1)
    assert missing.error == UNMEASURED
    assert not bench.measured


def test_what_another_process_measures_is_waited_for_last_and_not_measured_again(tmp_path: Path) -> None:
    clock = Clock()
    bench = PlainBench(tmp_path, TimeLimit(None, clock), clock)
    key = bench.kept.key(bench._identity(trial(0.1)))
    real, waits = Kept.claimed, []

    with pytest.MonkeyPatch.context() as patch, real(bench.kept, key) as held:
        assert held  # another process has the first trial
        with file_lock(tmp_path / "experiments" / f"{key}.lock", wait=False) as mine:
            assert not mine

        def claimed(self: Kept, own: str, *, wait: bool = True) -> Any:
            if own == key and wait:  # the other one is done meanwhile
                waits.append(list(bench.measured))
                self.put(key, scores(0.1))
                return real(self, f"{own} of the other")
            return real(self, own, wait=wait)

        patch.setattr(Kept, "claimed", claimed)
        found = bench.run([trial(0.1), trial(0.2)])
    assert found == [scores(0.1), scores(0.2)]
    assert bench.measured == [0.2]
    assert waits == [[0.2]]
    assert not list((tmp_path / "experiments").glob("*.lock"))


def test_a_claim_ends_with_its_block_and_leaves_no_file(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with (
        kept.claimed("a") as mine,
        kept.claimed("a", wait=False) as other,
        kept.claimed("b", wait=False) as b,
    ):
        assert (mine, other, b) == (True, False, True)
    assert not list(tmp_path.iterdir())


def test_seeds_for_which_there_was_no_time_are_left_out_of_the_means(tmp_path: Path) -> None:
    clock = Clock()
    bench = PlainBench(tmp_path, TimeLimit(2 / 60, clock), clock)
    planned = [trial(0.5, seed) for seed in range(3)] + [trial(0.6, seed) for seed in range(3)]
    setup = cast(Setup, SimpleNamespace(bench=bench))
    half, none = run(setup, planned)
    assert [one.seed for one in half.trials] == [0, 1]
    measure = half.measure("ES")
    assert measure is not None
    assert measure.value == pytest.approx(0.5)
    assert none.error == UNMEASURED
    assert none.measure("ES") is None


def series(line: str, at: float, *values: tuple[int, TrialScores]) -> Series:
    return Series(line, at, tuple(trial(at, seed, line) for seed, _ in values), tuple(s for _, s in values))


def test_editors_are_compared_where_both_were_measured_over_the_seeds_of_both() -> None:
    gone = TrialScores((), error=UNMEASURED)
    found = comparisons(
        [
            series("memit", 10, (0, scores(1.0)), (1, scores(0.9))),
            series("memit", 18, (0, scores(0.9))),
            series("rome", 10, (1, scores(0.4))),
            series("rome", 18, (0, gone)),
            series("mend", 10, (0, gone)),
            series("mend", 18, (0, gone)),
        ]
    )
    assert found == [
        f"rome: {UNMEASURED}",
        "At n = 10, S of memit is above that of rome: difference 0.500 [0.500, 0.500].",
        f"mend: {UNMEASURED}",
    ]


def test_without_any_in_time_all_are_kept() -> None:
    error: Callable[[TrialScores], str] = lambda one: one.error  # noqa: E731
    late: Sequence[TrialScores] = [TrialScores((), error=UNMEASURED)] * 2
    assert in_time(late, error) == list(late)
    assert in_time([*late, scores(1.0)], error) == [scores(1.0)]


def test_the_report_says_what_is_missing(taught_model: Path, tmp_path: Path) -> None:
    from kbsync.cli import main

    text = str(taught_model.parent / "text.txt")
    with pytest.raises(SystemExit) as ended:
        main(
            ["--home", str(tmp_path / "home"), "bench", "ablations", "--quick", "--model", str(taught_model),
             "--facts", str(taught_model.parent / "facts.jsonl"), "--corpus", text, "--heldout", text,
             "--minutes", "0", "--out", str(tmp_path / "out")]
        )  # fmt: skip
    assert not ended.value.code
    found = json.loads((tmp_path / "out" / "ablations.json").read_text(encoding="utf-8"))
    assert found["unmeasured"] > 5
    assert {one["error"] for one in found["results"]} == {UNMEASURED}
    page = (tmp_path / "out" / "ablations.md").read_text(encoding="utf-8")
    assert "were not measured, because the time was up; the same command carries on." in page
