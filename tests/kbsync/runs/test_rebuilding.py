"""Another base is a change like any other; other settings are named, and rebuilt when somebody asks."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from editing.spec import BuildSpec
from kbsync.queries.status import Overview, overview
from kbsync.service.cycle import CycleReport, cycle, rebuild
from state.records import Checkpoint
from tests.support.micro import Micro, make
from tests.support.proof import check_live
from tests.support.replay import check
from tests.support.scripted import Scripted
from tests.support.tiny_models import gpt2, save


@pytest.fixture
def micro(tmp_path: Path) -> Micro:
    made = make(tmp_path / "world", thresholds={}, extra="[gates.weight_growth]\nthreshold = 9.0\n")
    promoted(made, {"Blue House": "Anna", "Red Boat": "Bob"})
    return made


def promoted(micro: Micro, facts: Mapping[str, str | None]) -> None:
    micro.say(facts)
    assert [run.state for run in synced(micro).runs] == ["deployed"]


def synced(micro: Micro, *, asked: bool = True) -> CycleReport:
    micro.now += timedelta(hours=1)
    with micro.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", asked=asked, worker=Scripted())
        check(app.state)
        check_live(app.home, app.state)
    return report


def seen(micro: Micro) -> Overview:
    with micro.application() as app:
        return overview(app)


def live(micro: Micro) -> Checkpoint:
    with micro.application() as app, app.state.read() as tx:
        found = tx.live()
    assert found is not None
    return found


def another_model(micro: Micro, seed: int) -> None:
    """Other weights at the same path, under the same names."""
    directory = micro.root / "model"
    shutil.rmtree(directory)
    save(gpt2(width=32, layers=3, seed=seed), directory)


def test_another_base_at_the_same_path_starts_a_run_by_itself(micro: Micro) -> None:
    before = live(micro)
    assert synced(micro).runs == ()
    another_model(micro, seed=7)
    assert any("have changed" in line for line in seen(micro).differences)
    report = synced(micro, asked=False)
    assert [run.state for run in report.runs] == ["deployed"], report.nothing
    after = live(micro)
    assert after.view == before.view
    assert after.base != before.base
    assert seen(micro).differences == ()
    assert synced(micro).runs == ()


def test_the_same_base_copied_again_starts_nothing(micro: Micro) -> None:
    aside = micro.root / "aside"
    shutil.copytree(micro.root / "model", aside)
    shutil.rmtree(micro.root / "model")
    shutil.copytree(aside, micro.root / "model")
    assert any("have changed" in line for line in seen(micro).differences)
    assert synced(micro).runs == ()
    assert seen(micro).differences == (), "its content is the same"


def test_a_candidate_that_waits_for_review_does_not_outlive_its_base(micro: Micro) -> None:
    before, text = live(micro), micro.home.config.read_text()
    micro.home.config.write_text(f"{text}\n[review]\nrequired = true\n")
    another_model(micro, seed=7)
    assert [run.state for run in synced(micro).runs] == ["awaiting_review"]
    another_model(micro, seed=0)
    report = synced(micro)
    assert [run.state for run in report.runs] == ["rejected"], report.nothing
    assert "base model has changed" in report.runs[0].reason
    assert live(micro) == before
    assert not seen(micro).open_runs


def test_live_that_was_deleted_is_built_again_while_a_candidate_waits_for_review(micro: Micro) -> None:
    """Nothing of it is new, so there is nothing to approve."""
    text = micro.home.config.read_text()
    micro.home.config.write_text(f"{text}\n[review]\nrequired = true\n")
    before = live(micro)
    micro.say({"Old Mill": "Carl"})
    assert [run.state for run in synced(micro).runs] == ["awaiting_review"]
    shutil.rmtree(micro.home.checkpoint(before.path))
    assert seen(micro).lost
    assert {run.state for run in synced(micro).runs} == {"deployed", "awaiting_review"}
    assert live(micro).view == before.view
    assert not seen(micro).lost


def test_a_daemon_that_runs_on_finds_another_base(micro: Micro) -> None:
    with micro.application() as app, app.leading() as leadership:
        assert cycle(app, leadership, trigger="test", worker=Scripted()).runs == ()
        another_model(micro, seed=7)
        report = cycle(app, leadership, trigger="test", asked=False, worker=Scripted())
        assert [run.state for run in report.runs] == ["deployed"]


def test_a_run_of_the_base_before_is_planned_again(micro: Micro) -> None:
    class Replaced(Scripted):
        """The base is replaced while the worker is asked what a new fact is known as."""

        def execute(self, spec: Path, *rest: object) -> object:  # type: ignore[override]
            if BuildSpec.read(spec).mode == "build" and not self.done:
                self.done = True
                raise KeyboardInterrupt
            return super().execute(spec)

        done = False

    micro.say({"Old Mill": "Carl"})
    with micro.application() as app, app.leading() as leadership, pytest.raises(KeyboardInterrupt):
        cycle(app, leadership, trigger="test", worker=Replaced())
    another_model(micro, seed=7)
    report = synced(micro)
    assert [run.state for run in report.runs] == ["rejected", "deployed"]
    assert "base model has changed" in report.runs[0].reason


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("lr = 0.5", "lr = 0.1", "[edit] lr: 0.5 → 0.1"),
        ("[plan]\n", "[plan]\nvariants = 1\n", "[plan] variants: 0 → 1"),
        ("The owner of {} is", "Who owns {}?", "the template of crm:owner: 2 facts of live keep"),
    ],
)
def test_other_settings_are_named_with_the_command_that_rebuilds(
    old: str, new: str, named: str, micro: Micro
) -> None:
    text = micro.home.config.read_text()
    assert old in text
    micro.home.config.write_text(text.replace(old, new))
    lines = list(seen(micro).lines())
    assert any(named in how for what, how in lines if what == "built before"), lines
    assert any("kbsync rebuild" in how for _, how in lines)
    assert synced(micro).runs == (), "they start nothing by themselves"


def test_another_text_is_named_and_the_same_text_elsewhere_is_not(micro: Micro) -> None:
    corpus = micro.root / "corpus.txt"
    corpus.rename(micro.root / "moved.txt")
    text = micro.home.config.read_text()
    micro.home.config.write_text(text.replace("corpus.txt", "moved.txt"))
    assert seen(micro).differences == ()
    (micro.root / "moved.txt").write_text("Something else entirely. " * 90)
    assert seen(micro).differences == ("the text of [model] corpus",)


def test_a_rebuild_builds_the_same_facts_with_todays_settings(micro: Micro) -> None:
    before = live(micro)
    text = micro.home.config.read_text()
    micro.home.config.write_text(text.replace("lr = 0.5", "lr = 0.1"))
    with micro.application() as app, app.leading() as leadership:
        report = rebuild(app, leadership, worker=Scripted())
        check_live(app.home, app.state)
    (run,) = report.runs
    assert run.state == "deployed"
    assert BuildSpec.read(micro.home.round(run.id, 1).spec).mode == "build", "not the kept one again"
    assert live(micro).view == before.view
    assert seen(micro).differences == ()


def test_a_kept_checkpoint_of_other_settings_is_not_taken_again(micro: Micro) -> None:
    promoted(micro, {"Blue House": "Dora"})
    text = micro.home.config.read_text()
    micro.home.config.write_text(text.replace("lr = 0.5", "lr = 0.1"))
    micro.say({"Blue House": "Anna"}, name="9")
    (run,) = synced(micro).runs
    assert run.state == "deployed"
    assert BuildSpec.read(micro.home.round(run.id, 1).spec).mode == "build"
