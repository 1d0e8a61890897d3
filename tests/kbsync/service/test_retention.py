"""What is old and not needed is deleted, each time with an event, and everything else is as it was."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kbsync.application import Application
from kbsync.home import Home
from kbsync.leadership import Leadership
from kbsync.service import retention
from kbsync.service.retention_times import Times
from kbsync.settings.operation import RetentionSettings
from kbsync.settings.sections import Settings
from state.ledger import State
from state.records import Fact, Probe
from tests.support.admission_world import DAY, HOUR, Clock, OpenWorld, World, observed
from tests.support.micro import Micro, make
from tests.support.postgres import running_postgres
from tests.support.signed import kbsync

POLICY = "\n[retention]\nobservations = '30d'\nevents = '30d'\nreports = '30d'\ncheckpoints = '30d'\nlogs = '30d'\n"
SUBJECTS = ("italy", "france")
OBJECTS = ("ada", "bob", "cleo")
PROBE = Probe("neighbour", "The head of government of Spain is", "Dora")


@contextmanager
def led(world: World, period: timedelta, *kinds: str) -> Iterator[tuple[Application, Leadership]]:
    """The ledger of a world under a policy that keeps these kinds for `period`."""
    periods = RetentionSettings(**dict.fromkeys(kinds or ("observations", "events", "probes"), period))
    home = Home(Path(mkdtemp(prefix="retention-"))).prepare()
    app = Application(home, Settings(retention=periods, policy=world.policy), now=world.clock)
    app.__dict__["state"] = world.state
    with app.leading() as leadership:
        yield app, leadership


def judged_again(world: World) -> dict[int, tuple[object, ...]]:
    """What admission decides about every slot now: the facts with their statuses."""
    slots = [(f"wd:{name}", "wdt:P6") for name in SUBJECTS]
    with world.state.write() as tx:
        world.intake.admission().admit(tx, slots, world.clock())
    return facts(world)


def facts(world: World) -> dict[int, tuple[object, ...]]:
    with world.state.read() as tx:
        return {one.id: _decided(one) for one in tx.facts()}


def _decided(fact: Fact) -> tuple[object, ...]:
    return fact.subject, fact.object, fact.status, fact.reason_code, fact.held_until, fact.decision


STATEMENT = st.tuples(
    st.sampled_from(SUBJECTS), st.sampled_from(OBJECTS), st.sampled_from([1, 20, 24 * 7, 24 * 60])
)
HISTORY = st.lists(STATEMENT, min_size=1, max_size=12)


def live_through(world: World, history: list[tuple[str, str, int]]) -> None:
    """Every fact gets a probe when it is new, as the facts of a run do."""
    for revision, (subject, object, hours) in enumerate(history, start=1):
        world.clock.forward(hours * HOUR)
        now = world.clock()
        world.kb.tell(observed(subject, object, revision=revision, modified=now, at=now))
        world.cycle(bootstrap=False)
        with world.state.write() as tx:
            for fact in tx.facts():
                if not tx.probes(fact.id):
                    tx.put_probes(fact.id, [PROBE])


def without_probes(world: World) -> list[Fact]:
    with world.state.read() as tx:
        return [fact for fact in tx.facts() if not tx.probes(fact.id)]


def check_history(
    open_world: OpenWorld, history: list[tuple[str, str, int]], period: int, later: int
) -> None:
    """After the history and the deletion, now and later: what a ledger decides that kept everything."""
    kept, short = open_world(), open_world()
    for world in (kept, short):
        live_through(world, history)
        world.clock.forward(later * HOUR)
    assert facts(kept) == facts(short)
    with led(short, period * DAY) as (app, leadership):
        foreseen = {one.what: one.count for one in retention.preview(app)}
        assert {one.what: one.count for one in retention.apply(app, leadership)} == foreseen
        assert short.state.audit.verify_tables().ok
        assert facts(short) == facts(kept)
        assert {one.count for one in retention.preview(app)} == {0}
        assert [one.count for one in retention.apply(app, leadership)] == [0, 0, 0]
        gone = without_probes(short)
        assert all(fact.status in ("superseded", "retracted") for fact in gone)
        assert len(gone) == foreseen["probes"]
    for world in (kept, short):
        world.clock.forward(later * HOUR)
    assert judged_again(short) == judged_again(kept)
    found = short.state.audit.verify_tables()
    assert found.ok, found


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=HISTORY, period=st.sampled_from([1, 10, 40]), later=st.sampled_from([1, 200, 3000]))
def test_whatever_the_history_the_log_verifies_and_admission_decides_as_before(
    open_world: OpenWorld, history: list[tuple[str, str, int]], period: int, later: int
) -> None:
    check_history(open_world, history, period, later)


@pytest.mark.thorough
@settings(max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=HISTORY, period=st.sampled_from([1, 10, 40]), later=st.sampled_from([1, 200, 3000]))
def test_a_thousand_histories(
    open_world: OpenWorld, history: list[tuple[str, str, int]], period: int, later: int
) -> None:
    check_history(open_world, history, period, later)


def test_old_statements_and_payloads_go_and_what_admission_needs_stays(open_world: OpenWorld) -> None:
    world = open_world()
    live_through(world, [("italy", name, 24 * 60) for name in ("ada", "bob", "cleo", "dana")])
    world.clock.forward(400 * DAY)
    with world.state.read() as tx:
        (seen,) = tx.histories([("wd:italy", "wdt:P6")]).values()
    assert len(seen) == 4
    with led(world, 5 * DAY) as (app, leadership):
        done = {one.what: one.count for one in retention.apply(app, leadership)}
    assert done["observations"] == 3
    assert done["events"] > 0
    assert done["probes"] == 3
    with world.state.read() as tx:
        (left,) = tx.histories([("wd:italy", "wdt:P6")]).values()
        applied = [json.loads(event.body) for event in tx.events(kind="retention.applied")]
        text = " ".join(event.body for event in tx.events(kind="fact.superseded"))
    assert left[-1] == seen[-1]
    assert len(left) == 1
    assert {one["what"]: one["count"] for one in applied} == done
    assert "Bob" not in text


def test_the_ledgers_file_is_rewritten_after_something_was_deleted_from_it(open_world: OpenWorld) -> None:
    world = open_world()
    live_through(world, [("italy", name, 24 * 60) for name in ("ada", "bob", "cleo")])
    world.clock.forward(400 * DAY)
    with led(world, 5 * DAY, "events", "probes", "rewrite") as (app, leadership):
        assert all(one.count for one in retention.apply(app, leadership))
        first = Times.read(app.home)
        assert (first.rewritten, first.to_rewrite) == (world.clock(), False)
        with closing(sqlite3.connect(str(world.state.url.database))) as ledger:
            assert ledger.execute("PRAGMA freelist_count").fetchone() == (0,)
        assert world.state.audit.verify_tables().ok
        world.clock.forward(9 * DAY)
        assert not any(one.count for one in retention.apply(app, leadership))
        assert Times.read(app.home).rewritten == first.rewritten


def test_a_log_that_was_tampered_with_loses_nothing(open_world: OpenWorld) -> None:
    world = open_world()
    live_through(world, [("italy", name, 24 * 60) for name in ("ada", "bob", "cleo")])
    with world.state.write() as tx:
        tx.connection.exec_driver_sql("UPDATE facts SET target = 'Mallory' WHERE id = 1")
    with led(world, 5 * DAY, "events") as (app, leadership):
        before = world.state.audit.verify_tables().reason
        with pytest.raises(Exception, match="no payload was deleted"):
            retention.apply(app, leadership)
    assert before


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Five versions, twenty days apart; a key signs the log."""
    micro = make(tmp_path_factory.mktemp("old") / "world", extra="[state]\nkeep = 10")
    micro.application().state.close()
    assert kbsync(micro, "keys", "create")[0] == 0
    for owner in ("Dora", "Emil", "Fay", "Gus"):
        micro.say({"Blue House": owner})
        (run,) = micro.sync().runs
        assert run.state == "deployed", run
        micro.now += timedelta(days=20)
    return micro


@pytest.fixture
def micro(template: Micro, tmp_path: Path) -> Micro:
    twin = template.copy(tmp_path / "world")
    twin.home.config.write_text(twin.home.config.read_text() + POLICY)
    return twin


def prove(micro: Micro, *what: object) -> int:
    return kbsync(micro, "prove", *what, "--out", micro.root / "proof.json")[0]


def test_a_home_loses_what_is_old_and_keeps_what_it_needs(micro: Micro) -> None:
    link, (_, out, _) = micro.home.live.readlink(), kbsync(micro, "facts", "--json", "--status", "wanted")
    app = micro.application()
    with app.leading() as leadership:
        foreseen = {one.what: one.count for one in retention.preview(app)}
        done = {one.what: one.count for one in retention.apply(app, leadership)}
    app.close()
    assert done == foreseen
    assert done["checkpoints"] == 2  # live, and the one to roll back to, stay
    assert done["reports"] == 2
    assert done["events"] > 0
    assert not micro.home.run(1).exists()
    assert not micro.home.checkpoint("1-1").exists()
    assert micro.home.live.readlink() == link
    assert kbsync(micro, "facts", "--json", "--status", "wanted")[1] == out
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0
    assert prove(micro, "checkpoint", 4) == 0
    assert kbsync(micro, "audit", "rejudge", 4)[0] == 0
    assert kbsync(micro, "audit", "rejudge", 1)[0] == 66
    micro.sync()  # nothing is missing, and nothing has to be built
    assert micro.home.live.readlink() == link
    code, _, err = kbsync(micro, "rollback", "--reason", "wrong")
    assert code == 0, err
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0


def test_a_sync_applies_the_policy_once_a_day(micro: Micro) -> None:
    def applied() -> int:
        app = micro.application()
        with app.state.read() as tx:
            count = len(tx.events(kind="retention.applied"))
        app.close()
        return count

    micro.sync()
    first = applied()
    assert first >= 3
    micro.now += timedelta(days=31)
    before = micro.home.retention.read_bytes()
    micro.sync()
    assert micro.home.retention.read_bytes() != before
    before = micro.home.retention.read_bytes()
    micro.sync()  # an hour later
    assert micro.home.retention.read_bytes() == before


def test_the_policy_is_shown_and_a_dry_run_changes_nothing(micro: Micro, template: Micro) -> None:
    for command in (("config", "check", "--json"), ("status", "--json")):
        assert "events 30 days" in kbsync(micro, *command)[1]
    head = kbsync(micro, "audit", "show", "--json")[1]
    code, out, _ = kbsync(micro, "retention", "--dry-run", "--json")
    assert (code, {one["what"] for one in json.loads(out)}) == (
        0,
        {"observations", "events", "reports", "checkpoints", "logs"},
    )
    assert kbsync(micro, "audit", "show", "--json")[1] == head
    assert "everything is kept" in kbsync(template, "retention")[2] + kbsync(template, "retention")[1]


def test_payloads_stay_while_nobody_can_sign_that_they_went(micro: Micro) -> None:
    for file in micro.home.keys.glob("*.pem"):
        file.unlink()
    code, out, _ = kbsync(micro, "retention", "--json")
    found = {one["what"]: one for one in json.loads(out)}
    assert (code, found["events"]["count"]) == (0, 0)
    assert "signing key" in found["events"]["reason"]
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0


def test_the_workers_log_is_begun_anew_each_day_and_old_ones_go(micro: Micro) -> None:
    def applied(days: int = 1) -> int:
        micro.now += timedelta(days=days)
        app = micro.application()
        with app.leading() as leadership:
            done = {one.what: one.count for one in retention.apply(app, leadership)}
        app.close()
        return done["logs"]

    log = micro.home.worker_log
    log.write_text("the first day\n")
    with log.open("a") as worker:  # a worker that runs has the file open
        assert applied() == 0
        print("still at work", file=worker)
    (rotated,) = micro.home.runs.glob("worker-*.log")
    assert rotated.read_text() == "the first day\nstill at work\n"
    os.utime(
        rotated, (micro.now.timestamp(), micro.now.timestamp())
    )  # the worker wrote by the machine's clock
    assert not log.exists()
    assert applied() == 0, "there is nothing to begin again"
    log.write_text("the third day\n")
    assert applied() == 0
    assert len(list(micro.home.runs.glob("worker-*.log"))) == 2
    assert applied(days=31) == 2
    assert not rotated.exists()


def test_beside_a_daemon_the_command_deletes_nothing_and_says_who_leads(micro: Micro) -> None:
    app = micro.application()
    with app.leading():
        head = kbsync(micro, "audit", "show", "--json")[1]
        code, _, err = kbsync(micro, "retention")
        assert code == 75
        assert "lease" in err or "in use" in err, err
        assert kbsync(micro, "retention", "--dry-run")[0] == 0
        assert kbsync(micro, "audit", "show", "--json")[1] == head
    app.close()
    assert kbsync(micro, "retention")[0] == 0


def test_many_payloads_go_page_by_page_and_what_is_in_use_is_read_once(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_EVENTS", 2)
    read: list[str] = []
    in_use = retention._in_use
    monkeypatch.setattr(retention, "_in_use", lambda app, tx: read.append("once") or in_use(app, tx))
    world = open_world()
    live_through(world, [("italy", name, 24 * 60) for name in ("ada", "bob", "cleo", "dana", "eve", "fay")])
    world.clock.forward(400 * DAY)
    with led(world, 5 * DAY, "events") as (app, leadership):
        (foreseen,) = retention.preview(app)
        read.clear()
        (done,) = retention.apply(app, leadership)
        assert len(read) == 1
        assert done.count == foreseen.count > 6
        assert retention.preview(app)[0].count == 0
    assert world.state.audit.verify_tables().ok


@pytest.mark.postgres
def test_on_postgresql_the_same_goes(open_world: OpenWorld) -> None:
    counts, left = [], []
    with running_postgres() as url:
        clock = Clock()
        state = State.open(url, clock)
        state.migrate()
        for world in (open_world(), World(state, clock)):
            live_through(world, [("italy", name, 24 * 60) for name in ("ada", "bob", "cleo", "dana")])
            world.clock.forward(400 * DAY)
            with led(world, 5 * DAY) as (app, leadership):
                counts.append({one.what: one.count for one in retention.apply(app, leadership)})
            assert world.state.audit.verify_tables().ok
            left.append(facts(world))
        state.close()
    assert counts[0] == counts[1]
    assert counts[0]["observations"] == 3
    assert left[0] == left[1]
