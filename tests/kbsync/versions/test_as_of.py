"""Views of earlier dates: what they hold, that nothing is optimised twice, and that they stay apart from runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from editing.storage.checkpoints import verify
from kbsync.application import Application
from kbsync.errors import UsageError
from kbsync.queries.answers import said
from kbsync.service.cycle import cycle
from kbsync.versions.as_of import AsOf, answers_at, build_as_of
from kbsync.versions.building import views
from kbsync.versions.past import Time, facts_at
from state.event_queries import EventFilter
from tests.support.micro import Micro, make
from tests.support.scripted import Scripted

OWNERS = {
    "Blue House": [("Anna", None, "2024-02-01"), ("Bob", "2024-02-01", None)],
    "Red Boat": [("Carl", "2023-06-01", "2024-06-01"), ("Dora", "2024-06-01", None)],
    "Old Mill": [("Emil", None, None)],
}
"""Subject → (owner, from, to)."""


def day(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def dated(micro: Micro) -> None:
    """Drop a file in which each owner has the dates of their ownership."""
    rows = [
        {
            "subject": subject.lower().replace(" ", "-"),
            "subject_label": subject,
            "relation": "owner",
            "object": owner,
            **{name: value for name, value in (("start", start), ("end", end)) if value},
        }
        for subject, owners in OWNERS.items()
        for owner, start, end in owners
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (micro.drop / "owners.jsonl").write_text(text, encoding="utf-8")


def synced(micro: Micro, owner: str) -> None:
    """The mill's owner is another one now; the build is only pretended."""
    micro.say({"Old Mill": owner})
    micro.now += timedelta(hours=1)
    with micro.application() as app, app.leading() as leadership:
        report = cycle(app, leadership, trigger="test", worker=Scripted())
    assert [run.state for run in report.runs] == ["deployed"], (report.nothing, report.unavailable)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = make(tmp_path_factory.mktemp("world"))
    dated(micro)
    assert [run.state for run in micro.sync().runs] == ["deployed"]
    return micro


@pytest.fixture
def app(world: Micro) -> Iterator[Application]:
    with world.application() as opened:
        yield opened


def targets(app: Application, date: str, time: Time = "world") -> set[str]:
    return {fact.target for fact in facts_at(app, day(date), time)}


def built(app: Application, date: str, out: Path | None = None, *, exam: bool = False) -> AsOf:
    with views(app, "test") as made:
        return build_as_of(app, made, day(date), out=out, exam=exam)


def test_the_world_of_a_date_has_what_was_true_then(app: Application) -> None:
    assert targets(app, "2023-01-01") == {"Anna", "Emil"}
    assert targets(app, "2024-01-31") == {"Anna", "Carl", "Emil"}
    assert targets(app, "2024-02-01") == {"Bob", "Carl", "Emil"}
    assert targets(app, "2024-07-01") == {"Bob", "Dora", "Emil"}


def test_the_world_of_today_is_what_is_wanted(world: Micro, app: Application) -> None:
    with app.state.read() as tx:
        assert facts_at(app, world.now) == tx.wanted()


@pytest.mark.slow
def test_the_ledger_of_a_date_has_what_was_wanted_then_mistakes_included(tmp_path: Path) -> None:
    micro = make(tmp_path)
    synced(micro, "Emil")
    before = micro.now
    synced(micro, "Mallory")
    mistaken = micro.now
    synced(micro, "Fred")
    with micro.application() as app:
        wanted = {
            time: {fact.target for fact in facts_at(app, at, "ledger")}
            for time, at in (("before", before), ("mistaken", mistaken), ("now", micro.now))
        }
        assert "Emil" in wanted["before"]
        assert "Mallory" in wanted["mistaken"]
        assert "Emil" not in wanted["mistaken"]
        with app.state.read() as tx:
            assert {fact.target for fact in tx.wanted()} == wanted["now"]
        assert facts_at(app, day("2020-01-01"), "ledger") == ()


def test_what_a_reviewer_rejected_is_left_out_of_the_past(tmp_path: Path, world: Micro) -> None:
    micro = world.copy(tmp_path / "world")
    with micro.application() as app:
        with app.state.read() as tx:
            bob = next(fact for fact in tx.wanted() if fact.target == "Bob")
        with app.state.write() as tx:
            tx.decide(bob.id, "rejected", "it was never his", "ada")
        assert targets(app, "2024-07-01") == {"Dora", "Emil"}


def test_views_of_many_dates_optimise_each_edit_once(app: Application) -> None:
    shutil.rmtree(app.home.deltas)
    dates = ("2023-01-01", "2023-07-01", "2024-02-02", "2024-07-01", "2023-07-01")
    with views(app, "test") as made:
        facts = {fact.key for date in dates for fact in facts_at(app, day(date))}
        costs = [made.asked(facts_at(app, day(date)), []).cost.groups_optimised for date in dates]
    # Anna and Emil, then Carl, then Bob, then Dora
    assert costs == [2, 1, 1, 1, 0]
    assert len(facts) == 5


def test_a_dated_checkpoint_stays_apart_from_the_ledger_and_from_live(world: Micro, app: Application) -> None:
    live = world.home.live.readlink()
    with app.state.read() as tx:
        events = tx.count_events(EventFilter())
    found = built(app, "2024-03-01")
    assert found.built
    assert not found.view.judged
    assert found.view.gates == ()
    assert found.view.directory.parent == world.home.as_of
    assert verify(found.view.directory) == found.view.digest
    again = built(app, "2024-03-01")
    assert not again.built
    assert again.view.digest == found.view.digest
    assert world.home.live.readlink() == live
    with app.state.read() as tx:
        assert tx.count_events(EventFilter()) == events


def test_the_home_keeps_a_limited_number_of_dated_checkpoints(world: Micro, app: Application) -> None:
    dates = ("2023-01-01", "2023-07-01", "2024-02-02", "2024-03-03", "2024-06-06")
    names = [built(app, date).view.directory.name for date in dates]
    kept = app.settings.state.keep_as_of
    assert kept == 4
    assert {path.name for path in world.home.as_of.iterdir()} == set(names[-kept:])


def test_a_dated_checkpoint_is_judged_where_that_is_asked_for(app: Application, tmp_path: Path) -> None:
    found = built(app, "2024-07-01", tmp_path / "july", exam=True)
    assert found.view.judged
    assert found.view.passed
    assert {"efficacy", "perplexity_ratio"} <= {verdict.name for verdict in found.view.gates}
    assert verify(tmp_path / "july") == found.view.digest


def test_nothing_is_overwritten(app: Application, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        built(app, "2024-07-01", tmp_path / "there")
    with pytest.raises(UsageError, match="the home's own"):
        built(app, "2024-07-01", app.home.as_of / "mine")


def test_a_date_is_asked_as_its_checkpoint_answers(app: Application, tmp_path: Path) -> None:
    prompts = ["The owner of Blue House is", "The owner of Red Boat is"]
    built(app, "2023-07-01", tmp_path / "july")
    with views(app, "test") as made:
        then = answers_at(app, made, day("2023-07-01"), "world", prompts)
    assert then == said(tmp_path / "july", prompts, "cpu")
