"""Quiet hours and sources with times of their own: what the schedule holds back, and what it does not."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from kbsync.intake.quarantine import reject
from kbsync.queries.config_check import check_settings
from kbsync.queries.status import overview
from kbsync.runs import review
from kbsync.service import agenda
from kbsync.service.cycle import CycleReport, Reading, cycle
from kbsync.service.daemon import Daemon
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted

QUIET = "[schedule]\nquiet = ['22:00-06:00']\n\n[gates.weight_growth]\nthreshold = 9.0\n"


class Night(Micro):
    """A world whose clock stands at noon, and whose builds cost nothing."""

    def at(self, hour: int) -> None:
        """Turn the clock to the next time that it is this hour."""
        ahead = (hour - self.now.hour) % 24 or 24
        self.now = (self.now + timedelta(hours=ahead)).replace(minute=0)

    def cycle(self, *, asked: bool = False, only: frozenset[str] | None = None) -> CycleReport:
        with self.application() as app, app.leading() as leadership:
            return cycle(
                app,
                leadership,
                trigger="test",
                asked=asked,
                reading=Reading(only=only),
                worker=Scripted(),
            )

    def live(self) -> set[str | None]:
        with self.application() as app, app.state.read() as tx:
            live = tx.live()
            return {fact.target for fact in tx.view_facts(live.view)} if live else set()


def world(root: Path, extra: str = QUIET) -> Night:
    made = make(root, thresholds={}, extra=extra)
    text = made.home.config.read_text(encoding="utf-8")
    made.home.config.write_text(text.replace("[plan]\n", "[plan]\nmin_pending = 1\n"), encoding="utf-8")
    night = Night(made.root, made.now)
    night.at(12)
    night.say({"Blue House": "Anna"})
    night.cycle()
    assert night.live() == {"Anna"}
    return night


def test_no_run_begins_in_quiet_hours_and_facts_are_read_all_the_same(tmp_path: Path) -> None:
    night = world(tmp_path / "world")
    night.say({"Red Boat": "Bob"})
    night.at(23)
    report = night.cycle()
    assert report.runs == ()
    assert report.nothing.startswith("quiet hours ([schedule] quiet) until ")
    with night.application() as app, app.state.read() as tx:
        assert len(tx.wanted()) == 2
    night.at(6)
    night.cycle()
    assert night.live() == {"Anna", "Bob"}


def test_what_a_person_asks_for_is_done_in_quiet_hours(tmp_path: Path) -> None:
    night = world(tmp_path / "world")
    night.say({"Red Boat": "Bob"})
    night.at(23)
    night.cycle(asked=True)
    assert night.live() == {"Anna", "Bob"}


def test_what_a_person_withdraws_leaves_live_in_quiet_hours_and_nothing_else_happens(tmp_path: Path) -> None:
    night = world(tmp_path / "world")
    night.say({"Green Car": "Carl"})
    night.cycle()
    night.say({"Red Boat": "Bob"})
    night.at(23)
    night.cycle()
    with night.application() as app:
        with app.state.read() as tx:
            (anna,) = (fact for fact in tx.facts() if fact.target == "Anna")
        reject(app.intake(), anna.id, "a mistake", "ada")
    night.cycle()
    assert night.live() == {"Carl"}, "Bob waits until the morning"
    night.at(6)
    night.cycle()
    assert night.live() == {"Bob", "Carl"}


def test_a_candidate_that_was_built_before_waits_for_the_morning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = world(tmp_path / "world")
    night.at(21)
    night.say({"Red Boat": "Bob"})
    executed = Scripted.execute

    def until_late(self: Scripted, *arguments: object, **options: object) -> object:
        night.now += timedelta(hours=1)
        return executed(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Scripted, "execute", until_late)
    (run,) = night.cycle().runs
    assert run.state == "staged"
    monkeypatch.undo()
    assert night.cycle().nothing.startswith("quiet hours")
    assert night.live() == {"Anna"}
    night.at(6)
    night.cycle()
    assert night.live() == {"Anna", "Bob"}


def test_an_approval_is_carried_out_at_once(tmp_path: Path) -> None:
    night = world(tmp_path / "world")
    with night.home.config.open("a", encoding="utf-8") as file:
        file.write("\n[review]\nrequired = true\n")
    night.say({"Red Boat": "Bob"})
    (waiting,) = night.cycle().runs
    assert waiting.state == "awaiting_review"
    night.at(23)
    with night.application() as app, app.leading() as leadership:
        review.approve_run(app, leadership, waiting.id, "looks right", "ada")
    assert night.live() == {"Anna", "Bob"}


def test_a_source_with_its_own_time_is_not_read_by_the_shared_cycle(tmp_path: Path) -> None:
    made = make(tmp_path / "world", thresholds={}, extra=QUIET)
    text = made.home.config.read_text(encoding="utf-8")
    text = text.replace("kind = 'files'\n", "kind = 'files'\nschedule = '0 3 * * *'\n")
    made.home.config.write_text(text, encoding="utf-8")
    night = Night(made.root, made.now)
    night.at(12)
    night.say({"Blue House": "Anna"})
    with night.application() as app:
        assert agenda.shared_sources(app.settings) == frozenset()
        assert list(agenda.missed_sources(app)) == ["source crm"], "it was never read"
        daemon = Daemon(app)
        assert agenda.timings(app.settings, daemon._jobs)["source crm"] == "0 3 * * *"
        assert check_settings(app).found["next reading of crm"].startswith("at '0 3 * * *'; next ")
    assert night.cycle(only=frozenset()).intake.keys() == {"due"}
    assert night.cycle(only=frozenset({"crm"})).intake["crm"].observations == 1
    with night.application() as app:
        assert list(agenda.missed_sources(app)) == []
    night.at(2)
    with night.application() as app:
        assert list(agenda.missed_sources(app)) == []
    night.at(4)
    with night.application() as app:
        assert list(agenda.missed_sources(app)) == ["source crm"]
    assert night.cycle(asked=True).intake.keys() >= {"crm"}, "an operator reads all"


def test_the_status_says_what_comes_next(tmp_path: Path) -> None:
    night = world(tmp_path / "world", QUIET.replace("[schedule]\n", "[schedule]\nsync = '15 * * * *'\n"))
    night.at(23)
    with night.application() as app:
        lines = dict(overview(app).lines())
    day: datetime = night.now
    assert lines["next sync"] == f"at '15 * * * *'; next {day:%Y-%m-%d} 23:15 UTC"
    assert (
        lines["quiet hours"] == f"22:00-06:00 (UTC); quiet until {day + timedelta(days=1):%Y-%m-%d} 06:00 UTC"
    )


def test_the_daemon_goes_on_when_quiet_hours_end(tmp_path: Path) -> None:
    night = world(tmp_path / "world")
    night.at(23)
    with night.application() as app:
        daemon = Daemon(app)
        assert not daemon._quiet_hours_ended()
        night.at(6)
        assert daemon._quiet_hours_ended()
        assert not daemon._quiet_hours_ended(), "once"
