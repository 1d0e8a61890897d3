"""What was decided while a candidate waited holds: no approval and no timeout makes it undone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from editing.spec import BuildSpec
from kbsync.application import Application
from kbsync.intake import quarantine
from kbsync.runs import review
from kbsync.runs.lifecycle import Lifecycle
from kbsync.runs.planning import WITHDRAWAL
from kbsync.service.cycle import CycleReport, cycle
from state.records import Fact, Run
from tests.support.micro import Micro, make
from tests.support.proof import check_live
from tests.support.replay import check
from tests.support.scripted import Scripted
from tests.support.tiny_models import gpt2, save


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = make(
        tmp_path_factory.mktemp("template") / "world",
        thresholds={},
        extra="[gates.weight_growth]\nthreshold = 9.0\n\n[review]\nrequired = true\ntimeout = '2d'\n",
    )
    with micro.application() as app:
        assert app.base.digest
        app.state.migrate()
    return micro


class Reviewed(Micro):
    """A world whose candidates wait for a reviewer; each step is a process of its own."""

    def copied(self, template: Micro) -> Reviewed:
        shutil.copytree(template.root, self.root, symlinks=True)
        text = template.home.config.read_text().replace(str(template.root), str(self.root))
        self.home.config.write_text(text)
        return self

    def configure(self, old: str, new: str) -> None:
        text = self.home.config.read_text()
        assert old in text
        self.home.config.write_text(text.replace(old, new))

    def cycle(self, *, asked: bool = True) -> CycleReport:
        self.now += timedelta(hours=1)
        with self.application() as app, app.leading() as leadership:
            report = cycle(app, leadership, trigger="test", asked=asked, worker=Scripted())
            check(app.state)
            check_live(app.home, app.state)
            return report

    def approve(self, run: Run) -> Run:
        with self.application() as app, app.leading() as leadership:
            with leadership.write() as tx:
                staged = tx.advance_run(run.id, "awaiting_review", "staged", actor="ada", reason="good")
            return Lifecycle(app, leadership, Scripted()).drive(staged)

    def retract(self, target: str) -> Fact:
        with self.application() as app:
            (fact,) = [one for one in self.facts(app) if one.target == target]
            quarantine.reject(app.intake(), fact.id, "we were wrong", "ada")
        return fact

    def facts(self, app: Application) -> tuple[Fact, ...]:
        with app.state.read() as tx:
            return tx.facts()

    def live(self) -> set[str]:
        """What live was built to say."""
        with self.application() as app, app.state.read() as tx:
            live = tx.live()
            return {fact.target for fact in tx.view_facts(live.view)} if live else set()

    def run(self, number: int) -> Run:
        with self.application() as app, app.state.read() as tx:
            return tx.run(number)


@pytest.fixture
def world(template: Micro, tmp_path: Path) -> Iterator[Reviewed]:
    return Reviewed(tmp_path / "world").copied(template)


def waiting(report: CycleReport) -> Run:
    run = report.runs[-1]
    assert run.state == "awaiting_review"
    return run


def test_an_approval_does_not_promote_what_was_retracted_meanwhile(world: Reviewed) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    run = waiting(world.cycle())
    gone = world.retract("Anna")
    done = world.approve(run)
    assert done.state == "rejected"
    assert f"fact {gone.id} (Blue House, crm:owner, Anna; retracted" in done.reason
    assert world.live() == set()
    again = waiting(world.cycle(asked=False))
    assert world.approve(again).state == "deployed"
    assert world.live() == {"Bob"}


@pytest.mark.parametrize("policy", ["approve", "reject"])
def test_a_timeout_does_not_promote_what_was_superseded_meanwhile(policy: str, world: Reviewed) -> None:
    world.configure("timeout = '2d'", f"timeout = '2d'\non_timeout = '{policy}'")
    world.say({"Blue House": "Anna"})
    run = waiting(world.cycle())
    world.now += timedelta(days=3)
    world.say({"Blue House": "Carl"}, name="9")
    with world.application() as app:
        from kbsync.service.cycle import pull

        pull(app)
    again = waiting(world.cycle())
    ended = world.run(run.id)
    assert ended.state == "rejected"
    assert "Anna; superseded" in ended.reason
    assert again.id != run.id
    assert world.live() == set()


def test_what_was_withdrawn_leaves_live_by_the_next_sync_while_a_candidate_waits(world: Reviewed) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.approve(waiting(world.cycle()))
    world.say({"Old Mill": "Carl"})
    first = waiting(world.cycle())
    world.retract("Anna")
    report = world.cycle(asked=False)
    assert world.live() == {"Bob"}
    assert world.run(first.id).state == "rejected", "its view states what was withdrawn"
    assert [run.state for run in report.runs[-2:]] == ["deployed", "awaiting_review"]
    world.approve(report.runs[-1])
    assert world.live() == {"Bob", "Carl"}


def test_what_a_source_withdrew_while_a_candidate_waited_leaves_live_by_the_next_sync(
    world: Reviewed,
) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.approve(waiting(world.cycle()))
    world.say({"Blue House": None, "Old Mill": "Carl"})
    candidate = waiting(world.cycle())
    assert world.live() == {"Anna", "Bob"}, "it is approved with the candidate that leaves it out"
    world.say({"Red Boat": None}, name="9")
    report = world.cycle()
    assert world.live() == set()
    assert world.run(candidate.id).state == "rejected", "it states Bob"
    assert world.approve(waiting(report)).state == "deployed"
    assert world.live() == {"Carl"}


def test_a_candidate_that_only_leaves_out_what_a_source_withdrew_waits_for_review(world: Reviewed) -> None:
    world.say({"Blue House": "Anna"})
    world.approve(waiting(world.cycle()))
    world.say({"Blue House": None})
    run = waiting(world.cycle())
    assert waiting(world.cycle()).id == run.id
    assert world.live() == {"Anna"}
    world.approve(run)
    assert world.live() == set()


def test_a_successor_under_review_leaves_its_predecessor_live(world: Reviewed) -> None:
    world.say({"Blue House": "Anna"})
    world.approve(waiting(world.cycle()))
    world.say({"Blue House": "Carl"})
    run = waiting(world.cycle())
    assert world.live() == {"Anna"}
    world.approve(run)
    assert world.live() == {"Carl"}


def another_model(world: Reviewed) -> None:
    directory = world.root / "model"
    shutil.rmtree(directory)
    save(gpt2(width=32, layers=3, seed=7), directory)


def base_of_live(world: Reviewed) -> str:
    with world.application() as app, app.state.read() as tx:
        live = tx.live()
    assert live is not None
    return live.base


def test_what_a_person_withdrew_leaves_live_while_another_base_waits_for_review(world: Reviewed) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.approve(waiting(world.cycle()))
    before = base_of_live(world)
    another_model(world)
    swap = waiting(world.cycle())
    world.retract("Anna")
    report = world.cycle(asked=False)
    assert [run.state for run in report.runs[-2:]] == ["deployed", "awaiting_review"]
    assert world.live() == {"Bob"}
    assert base_of_live(world) == before, "nobody has approved the other base"
    assert world.run(swap.id).state == "rejected", "it states what was withdrawn"
    assert world.cycle().nothing == "a run waits for review"
    world.approve(report.runs[-1])
    assert world.live() == {"Bob"}
    assert base_of_live(world) != before


def test_a_withdrawal_is_built_as_live_was_whatever_the_other_base_needs(world: Reviewed) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.approve(waiting(world.cycle()))
    with world.application() as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        asked_for = json.loads(live.recipe)["edit"]
    world.retract("Anna")
    another_model(world)
    world.configure("layers = [0, 1]", "layers = [1, 2]")
    report = world.cycle(asked=False)
    first, second = report.runs
    assert (first.trigger, first.state, second.state) == (WITHDRAWAL, "deployed", "awaiting_review")
    spec = BuildSpec.read(world.home.round(first.id, 1).spec)
    assert spec.settings.layers == (0, 1)
    assert BuildSpec.read(world.home.round(second.id, 1).spec).settings.layers == (1, 2)
    with world.application() as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        assert json.loads(live.recipe)["edit"] == asked_for


def test_where_lives_base_is_gone_a_withdrawal_is_approved_with_the_other_base(world: Reviewed) -> None:
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.approve(waiting(world.cycle()))
    shutil.rmtree(world.home.base / base_of_live(world))
    another_model(world)
    world.retract("Anna")
    run = waiting(world.cycle())
    assert world.cycle().nothing == "a run waits for review"
    assert world.live() == {"Anna", "Bob"}
    world.approve(run)
    assert world.live() == {"Bob"}


def test_a_retraction_by_a_person_waits_for_no_threshold(world: Reviewed) -> None:
    world.configure("[plan]\n", "[plan]\nmin_pending = 10\nmax_wait = '30d'\n")
    world.configure("required = true", "required = false")
    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    world.cycle()
    world.say({"Red Boat": None})
    assert world.cycle(asked=False).runs == ()
    assert world.live() == {"Anna", "Bob"}
    world.retract("Anna")
    assert [run.state for run in world.cycle(asked=False).runs] == ["deployed"]
    assert world.live() == set()


def test_a_run_that_is_being_built_does_not_state_what_was_retracted_meanwhile(world: Reviewed) -> None:
    world.configure("required = true", "required = false")

    class Retracting(Scripted):
        """An operator retracts a fact while its candidate is built."""

        def execute(self, spec: Path, *rest: object) -> object:
            report = super().execute(spec)
            if report.checkpoint and world.live() == set() and not self.done:
                self.done = True
                world.retract("Anna")
            return report

        done = False

    world.say({"Blue House": "Anna", "Red Boat": "Bob"})
    with world.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", worker=Retracting())
    assert [run.state for run in report.runs] == ["rejected", "deployed"]
    assert world.live() == {"Bob"}


def test_reviewers_reject_while_the_daemon_is_at_the_same_run(world: Reviewed) -> None:
    """What an operator has ended is not carried on by who still holds it as it was."""
    world.say({"Blue House": "Anna"})
    run = waiting(world.cycle())
    with world.application() as app, app.leading() as leadership:
        review.reject_run(app, run.id, "no", "ada")
        world.now += timedelta(days=3)
        assert Lifecycle(app, leadership, Scripted()).drive(run).state == "rejected"
