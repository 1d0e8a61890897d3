"""A build's residuals divided into shares: together they are all of them, and the build finds them in the cache."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import Tensor

from editing.errors import SpecError
from editing.modes import Mode
from editing.spec import BuildReport, BuildSpec
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from tests.support.shared_builds import FACTS, SharedBuild, assert_same


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> SharedBuild:
    return SharedBuild(tmp_path_factory.mktemp("shared"))


def run(workshop: Workshop, path: Path) -> BuildReport:
    return BuildReport.read(workshop.round(path))


def share(shared: SharedBuild, name: str, number: int, of: int, mode: Mode = "residuals") -> Path:
    """The spec of one share of the build `name`."""
    spec = BuildSpec.read(shared.root / name / "spec.json")
    path = shared.root / name / f"{mode}-{number}" / "spec.json"
    path.parent.mkdir(exist_ok=True)
    replace(spec, mode=mode, share=(number, of), out="").write(path)
    return path


def test_all_shares_together_leave_nothing_to_optimise_and_the_same_weights(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    alone = run(workshop, shared.spec("alone"))
    assert alone.cost.groups_optimised == len(FACTS)
    path = shared.spec("divided")
    done: dict[str, int] = {}
    for number in range(3):
        report = run(workshop, share(shared, "divided", number, 3))
        assert report.checkpoint_digest == ""
        now = shared.deltas("divided")
        assert done.items() < now.items(), "each share adds some, and leaves those of others"
        done = now
    assert done.keys() == shared.deltas("alone").keys()
    whole = run(workshop, path)
    assert (whole.cost.groups_optimised, whole.cost.groups_cached) == (0, len(FACTS))
    assert shared.deltas("divided") == done
    assert_same(shared.changed("divided"), shared.changed("alone"))


def test_a_share_that_is_run_again_computes_nothing(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    shared.spec("again")
    path = share(shared, "again", 0, 2)
    run(workshop, path)
    done = shared.deltas("again")
    path.with_name("report.json").unlink()
    run(workshop, path)
    assert shared.deltas("again") == done


def test_shares_of_the_statistics_add_up_and_are_removed(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("counted"))
    path = shared.spec("added")
    stats = shared.root / "added" / "cache" / "stats"
    for number in range(3):
        run(workshop, share(shared, "added", number, 3, "statistics"))
        assert len(list(stats.glob("*.sums"))) == number + 1
    kept = {file: file.stat().st_mtime_ns for file in stats.glob("*.sums")}
    (shared.root / "added" / "statistics-1" / "report.json").unlink()
    run(workshop, share(shared, "added", 1, 3, "statistics"))
    assert {file: file.stat().st_mtime_ns for file in kept} == kept, (
        "a share that is there is not counted again"
    )
    run(workshop, path)
    assert not list(stats.glob("*.sums"))
    assert_same(moments(stats), moments(shared.root / "counted" / "cache" / "stats"))
    assert_same(shared.changed("added"), shared.changed("counted"))


def test_without_all_shares_or_with_a_damaged_one_the_build_counts_itself(shared: SharedBuild) -> None:
    workshop = Workshop(Channel(StringIO()))
    run(workshop, shared.spec("counted"))
    path = shared.spec("damaged")
    stats = shared.root / "damaged" / "cache" / "stats"
    for number in (0, 2):
        run(workshop, share(shared, "damaged", number, 3, "statistics"))
    for number in (0, 1):
        run(workshop, share(shared, "damaged", number, 2, "statistics"))
    (last,) = stats.glob("*.1-of-2.sums")
    last.write_bytes(last.read_bytes()[:-1])
    run(workshop, path)
    assert not list(stats.glob("*.sums"))
    assert_same(moments(stats), moments(shared.root / "counted" / "cache" / "stats"))


def moments(directory: Path) -> dict[str, Tensor]:
    """The second moments that were stored, by layer."""
    found = {}
    for file in directory.glob("*.safetensors"):
        tensors = load_file(file)
        if "moment" in tensors:
            found[file.stem.rpartition("-")[2]] = tensors["moment"]
    return found


@pytest.mark.parametrize("wrong", [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_does_not_exist_is_refused(shared: SharedBuild, wrong: tuple[int, int]) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        BuildSpec.read(shared.spec("wrong", share=wrong))
