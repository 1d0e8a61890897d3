"""After a restore, what is served never goes back to a checkpoint that states what was withdrawn after the backup."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from editing.progress import TimedProgress, silent
from kbsync.intake import quarantine
from kbsync.queries.status import overview
from kbsync.runs import promotion, review
from kbsync.service.backup import backup, restore
from kbsync.service.cycle import CycleReport, cycle, notify_servers
from tests.support.histories import imported
from tests.support.micro import Micro
from tests.support.scripted import Scripted, Watching


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Two facts are live, a backup of that was made, and no review is needed."""
    micro = imported(tmp_path_factory.mktemp("restored") / "world")
    text = micro.home.config.read_text().replace("required = true", "required = false")
    server = f"[deploy.server]\nkind = 'symlink'\npath = '{micro.root}/served'\n"
    micro.home.config.write_text(f"{text}\n{server}")
    micro.say({"Blue House": "Dora", "Red Boat": "Emil"})
    sync(micro)
    with micro.application() as app:
        backup(app, micro.root / "one.tar")
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    return template.copy(tmp_path / "world")


def sync(micro: Micro) -> tuple[CycleReport, list[object]]:
    """One cycle, and where link and server led meanwhile."""
    worker = Watching(lambda: served(micro))
    with micro.application() as app, app.leading() as leadership:
        return cycle(app, leadership, trigger="test", asked=True, worker=worker), worker.seen


def served(micro: Micro) -> tuple[str, ...]:
    """Names of the checkpoints behind the link and the server's own; empty if there is none."""
    links = micro.home.live, micro.root / "served"
    return tuple(link.readlink().name if link.is_symlink() else "" for link in links)


def retract(micro: Micro, subject: str) -> None:
    with micro.application() as app:
        with app.state.read() as tx:
            (fact,) = (fact for fact in tx.wanted() if fact.subject_label == subject)
        quarantine.reject(app.intake(), fact.id, "we were wrong", "ada")


def restored(micro: Micro) -> None:
    restore(micro.home, micro.root / "one.tar", config=None, replace=True, actor="ada", now=micro.now)


def live_facts(micro: Micro) -> set[str]:
    with micro.application() as app, app.state.read() as tx:
        live = tx.live()
        assert live is not None
        assert os.readlink(micro.home.live) == live.path
        return {fact.subject_label for fact in tx.view_facts(live.view)}


def red(micro: Micro) -> str:
    with micro.application() as app:
        return overview(app).withheld


def test_what_a_person_withdrew_after_the_backup_is_not_served_while_live_is_built(micro: Micro) -> None:
    retract(micro, "Red Boat")
    sync(micro)
    before = served(micro)
    restored(micro)
    assert "Red Boat" in red(micro)
    with micro.application() as app, app.leading() as leadership:
        assert notify_servers(app, leadership) == ()
        assert promotion.project(app.state, app.home) is None
    assert served(micro) == before
    report, seen = sync(micro)
    assert set(seen) == {before}
    assert [run.state for run in report.runs] == ["deployed"]
    assert live_facts(micro) == {"Blue House"}
    assert red(micro) == ""


def test_what_a_source_withdrew_after_the_backup_is_not_served_before_the_source_is_read(
    micro: Micro,
) -> None:
    micro.say({"Red Boat": None}, name="later")
    sync(micro)
    before = served(micro)
    restored(micro)
    assert "sources were not read" in red(micro)
    _, seen = sync(micro)
    assert set(seen) == {before}
    assert live_facts(micro) == {"Blue House"}


def test_a_value_that_was_replaced_after_the_backup_is_not_served_again(micro: Micro) -> None:
    micro.say({"Red Boat": "Fritz"}, name="later")
    sync(micro)
    before = served(micro)
    restored(micro)
    _, seen = sync(micro)
    assert set(seen) == {before}
    assert live_facts(micro) == {"Blue House", "Red Boat"}


def test_a_replaced_value_does_not_come_back_while_its_successor_waits_for_review(micro: Micro) -> None:
    """The successor was approved after the backup, which the restored ledger does not know."""
    micro.say({"Blue House": "Fritz"}, name="later")
    retract(micro, "Red Boat")
    sync(micro)
    text = micro.home.config.read_text().replace("required = false", "required = true")
    micro.home.config.write_text(text)
    restored(micro)
    report, _ = sync(micro)
    assert [run.state for run in report.runs] == ["deployed", "awaiting_review"]
    assert live_facts(micro) == set(), "neither what was retracted nor the value before Fritz"
    micro.now += timedelta(days=3)
    sync(micro)
    assert live_facts(micro) == {"Blue House"}


def test_a_newer_checkpoint_of_the_lost_history_gives_way_once_the_sources_were_read(micro: Micro) -> None:
    """The sources say by now what they said when the backup was made."""
    first = served(micro)
    micro.say({"Old Mill": "Carl"}, name="later")
    sync(micro)
    (dropped,) = micro.drop.glob("**/later*.jsonl")
    dropped.unlink()
    restored(micro)
    assert served(micro) != first
    report, _ = sync(micro)
    assert not report.runs
    assert served(micro) == first, "link and server"


def test_a_run_of_the_backup_does_not_bring_back_what_was_withdrawn_after_it(micro: Micro) -> None:
    """The backup was made while a run that states both facts was under way."""
    micro.say({"Old Mill": "Carl"}, name="more")

    class Interrupting(Scripted):
        def execute(self, spec: Path, progress: TimedProgress = silent):
            if not (micro.root / "two.tar").exists() and '"mode": "build"' in spec.read_text():
                with micro.application() as app:
                    backup(app, micro.root / "two.tar")
            return super().execute(spec, progress)

    with micro.application() as app, app.leading() as leadership:
        cycle(app, leadership, trigger="test", asked=True, worker=Interrupting())
    retract(micro, "Red Boat")
    sync(micro)
    before = served(micro)
    restore(micro.home, micro.root / "two.tar", config=None, replace=True, actor="ada", now=micro.now)
    with micro.application() as app, app.state.read() as tx:
        assert tx.open_runs()
    _, seen = sync(micro)
    assert set(seen) == {before}
    assert live_facts(micro) == {"Blue House", "Old Mill"}


def test_a_missing_checkpoint_is_built_without_what_the_sources_withdrew_since(micro: Micro) -> None:
    """Live of the backup was removed since, and what is served meanwhile is not."""
    micro.say({"Red Boat": None, "Old Mill": "Carl"}, name="later")
    sync(micro)
    before = served(micro)
    for directory in micro.home.checkpoints.glob("1-1"):
        directory.rename(micro.root / "gone")
    restored(micro)
    _, seen = sync(micro)
    assert seen[0] == before
    assert ("1-1", "1-1") not in seen
    assert live_facts(micro) == {"Blue House", "Old Mill"}


def test_a_candidate_that_waited_for_review_when_the_backup_was_made_is_proposed_anew(micro: Micro) -> None:
    """It may have been rejected since, and the time of its review is over."""
    text = micro.home.config.read_text().replace("required = false", "required = true")
    micro.home.config.write_text(text.replace("on_timeout = 'reject'", "on_timeout = 'approve'"))
    micro.say({"Old Mill": "Carl"}, name="more")
    report, _ = sync(micro)
    assert [run.state for run in report.runs] == ["awaiting_review"]
    with micro.application() as app:
        backup(app, micro.root / "two.tar")
        review.reject_run(app, report.runs[0].id, "Carl sold it", "ada")
    before = served(micro)
    micro.now += timedelta(days=30)
    restore(micro.home, micro.root / "two.tar", config=None, replace=True, actor="ada", now=micro.now)
    with micro.application() as app, app.state.read() as tx:
        assert tx.run(report.runs[0].id).state == "failed"
    again, _ = sync(micro)
    assert [run.state for run in again.runs] == ["awaiting_review"]
    assert served(micro) == before
    with micro.application() as app, app.leading() as leadership:
        review.approve_run(app, leadership, again.runs[0].id, "he kept it", "ada")
    assert live_facts(micro) == {"Blue House", "Red Boat", "Old Mill"}


def test_an_older_backup_restored_while_a_candidate_waits_leaves_nothing_to_approve(micro: Micro) -> None:
    text = micro.home.config.read_text().replace("required = false", "required = true")
    micro.home.config.write_text(text)
    micro.say({"Old Mill": "Carl"}, name="more")
    report, _ = sync(micro)
    restored(micro)
    assert [run.state for run in sync(micro)[0].runs] == ["awaiting_review"], "what the sources state by now"
    with micro.application() as app, app.leading() as leadership:
        with app.state.read() as tx:
            (run,) = tx.open_runs()
        assert run.id > report.runs[0].id, "nobody approves a candidate of the lost history by its number"
        review.approve_run(app, leadership, run.id, "as the folder says", "ada")
        assert app.state.audit.verify_tables().ok
    assert live_facts(micro) == {"Blue House", "Red Boat", "Old Mill"}


def test_live_is_built_again_after_its_directory_and_that_of_the_candidate_were_deleted(micro: Micro) -> None:
    text = micro.home.config.read_text().replace("required = false", "required = true")
    micro.home.config.write_text(text)
    micro.say({"Old Mill": "Carl"}, name="more")
    (waiting,) = sync(micro)[0].runs
    assert waiting.state == "awaiting_review"
    for directory in micro.home.checkpoints.glob("[0-9]*"):
        shutil.rmtree(directory)
    states = [[run.state for run in sync(micro)[0].runs] for _ in range(2)]
    with micro.application() as app, app.leading() as leadership:
        with app.state.read() as tx:
            left = [run for run in tx.open_runs() if run.state == "awaiting_review"]
        for run in left:
            review.approve_run(app, leadership, run.id, "as the folder says", "ada")
    assert live_facts(micro) == {"Blue House", "Red Boat", "Old Mill"}, states
    assert all((micro.home.checkpoints / name).is_dir() for name in served(micro))
