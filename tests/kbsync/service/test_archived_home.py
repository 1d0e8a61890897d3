"""A home whose old events are archived: its commands read them, or say where they are."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from kbsync.home import Home
from kbsync.service import retention, searching
from state.archives.events import archived_events
from state.event_queries import EventFilter
from state.names import SubjectNames
from tests.support.micro import Micro, make
from tests.support.signed import kbsync

POLICY = "\n[retention]\narchive = '30d'\nreports = '30d'\ncheckpoints = '30d'\n"
OWNERS = ("Dora", "Emil", "Fay", "Gus")


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Micro:
    """Four versions, twenty days apart, and many events of no interest; a key signs the log."""
    micro = make(tmp_path_factory.mktemp("before") / "world", extra="[state]\nkeep = 10")
    micro.now -= timedelta(days=200)
    micro.application().state.close()
    assert kbsync(micro, "keys", "create")[0] == 0
    for owner in OWNERS:
        micro.say({"Blue House": owner})
        (run,) = micro.sync().runs
        assert run.state == "deployed", run
        with micro.application() as app, app.state.write() as tx:
            for _ in range(200):
                tx.emit("retention.applied", "test", {"what": "nothing"})
        micro.now += timedelta(days=20)
    micro.now += timedelta(days=20)
    return micro


@pytest.fixture(scope="module")
def archived(before: Micro, tmp_path_factory: pytest.TempPathFactory) -> Micro:
    micro = before.copy(tmp_path_factory.mktemp("archived") / "world")
    micro.home.config.write_text(micro.home.config.read_text() + POLICY)
    micro.sync()
    assert [path.name[:6] for path in sorted(micro.home.archive.iterdir())] == ["events", "state-"]
    return micro


@pytest.fixture
def micro(archived: Micro, tmp_path: Path) -> Micro:
    return archived.copy(tmp_path / "world")


def move_away(home: Home, into: Path) -> Path:
    (file,) = home.archive.glob("events-*")
    return Path(shutil.move(file, into))


def test_verify_says_what_is_archived_and_away(micro: Micro, tmp_path: Path) -> None:
    code, _, err = kbsync(micro, "audit", "verify", "--tables")
    assert (code, "cut" in err) == (0, False), err
    file = move_away(micro.home, tmp_path)
    code, _, err = kbsync(micro, "audit", "verify", "--tables")
    assert (code, "signed cut" in err, file.name in err) == (0, True, True), err
    found = json.loads(kbsync(micro, "audit", "verify", "--json")[1])
    assert found["archived"] == [file.name]
    code, _, err = kbsync(micro, "audit", "export", "--out", tmp_path / "log.jsonl")
    assert (code, "put it back" in err) == (66, True), err
    micro.say({"Blue House": "Hal"})
    (run,) = micro.sync().runs
    assert run.state == "deployed", "the daemon verifies the log before it promotes"


def test_archived_events_are_shown_and_proven_from_their_file(micro: Micro, tmp_path: Path) -> None:
    code, out, err = kbsync(micro, "audit", "show")
    assert (code, "--archived shows them" in err) == (0, True), err
    shown = json.loads(kbsync(micro, "audit", "show", "--archived", "--json", "--run", 1, "--limit", 500)[1])
    assert {"run.planned", "run.gates", "attempt.started"} <= {one["kind"] for one in shown}
    assert [one["seq"] for one in shown] == sorted((one["seq"] for one in shown), reverse=True)
    in_ledger = json.loads(kbsync(micro, "audit", "show", "--json", "--run", 1)[1])
    assert "run.gates" not in {one["kind"] for one in in_ledger}
    with micro.application() as app, app.state.read() as tx:
        (old,) = [fact for fact in tx.facts() if fact.target == "Dora"]
    code, out, _ = kbsync(micro, "explain", old.id, "--no-ask")
    assert (code, "archived" in out) == (0, True)
    proof = tmp_path / "proof.json"
    assert kbsync(micro, "prove", "run", 1, "--out", proof)[0] == 0
    assert "run.gates" in proof.read_text()
    assert kbsync(micro, "audit", "bundle", "--run", 1, "--out", tmp_path / "run.zip")[0] == 0
    assert kbsync(micro, "prove", "checkpoint", 4, "--out", tmp_path / "live.json")[0] == 0
    file = move_away(micro.home, tmp_path)
    code, _, err = kbsync(micro, "prove", "run", 1, "--out", proof)
    assert (code, file.name in err) == (66, True), err


FILTERS = [
    EventFilter(),
    EventFilter(kind="fact.*"),
    EventFilter(kind="run.gates", before=700),
    EventFilter(after=100, before=300),
    EventFilter(run=1),
    EventFilter(fact=1),
    EventFilter(subject="crm:blue-house"),
    EventFilter(actor="test", after=200, before=260),
]


@pytest.mark.parametrize("chosen", FILTERS, ids=str)
def test_archived_events_are_found_as_those_in_the_ledger_are(
    chosen: EventFilter, before: Micro, archived: Micro
) -> None:
    with archived.application() as app, app.state.read() as tx:
        cut, found = tx.cut(), archived_events(tx, chosen, 2_000)
        assert archived_events(tx, chosen, 3) == found[:3]
    assert cut is not None
    with before.application() as app, app.state.read() as tx:
        assert found == [one for one in tx.recent_events(chosen) if one.seq <= cut.last]
    assert found


def test_a_backup_has_the_archive_and_a_restore_puts_it_back(micro: Micro, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    assert kbsync(micro, "backup", backup)[0] == 0
    names = {path.name for path in micro.home.archive.iterdir()}
    shutil.rmtree(micro.home.archive)
    assert kbsync(micro, "audit", "verify")[0] == 65
    code, _, err = kbsync(micro, "restore", backup, "--replace")
    assert code == 0, err
    assert {path.name for path in micro.home.archive.iterdir()} == names
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0
    micro.sync()
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0


def test_a_restore_of_what_was_before_the_cut_keeps_what_was_rejected_since(
    before: Micro, tmp_path: Path
) -> None:
    micro = before.copy(tmp_path / "world")
    backup = tmp_path / "backup.tar"
    assert kbsync(micro, "backup", backup)[0] == 0
    with micro.application() as app, app.state.read() as tx:
        (fact,) = [fact for fact in tx.facts() if fact.target == "Gus"]
    assert kbsync(micro, "retract", fact.id, "--reason", "wrong")[0] == 0
    with micro.application() as app, app.state.write() as tx:
        for _ in range(600):
            tx.emit("retention.applied", "test", {"what": "nothing"})
    micro.home.config.write_text(micro.home.config.read_text() + POLICY)
    micro.now += timedelta(days=60)
    with micro.application() as app, app.leading() as leadership:
        assert {one.what: one.count for one in retention.apply(app, leadership)}["archive"] > 700
    code, _, err = kbsync(micro, "restore", backup, "--replace")
    assert code == 0, err
    with micro.application() as app, app.state.read() as tx:
        (again,) = [one for one in tx.facts() if one.target == "Gus"]
    assert again.decision == "rejected"
    assert list(micro.home.archive.iterdir()) == [], "the restored ledger has these events itself"
    (aside,) = micro.home.root.glob("archive.replaced-*")
    assert len(list(aside.iterdir())) == 2, "the ledger that was set aside still needs them"


def test_forgetting_reaches_the_archive(micro: Micro) -> None:
    code, _, err = kbsync(micro, "forget", "crm:blue-house", "--reason", "asked", "--yes")
    assert code in (0, 10), err
    names = SubjectNames("crm:blue-house", ["Blue House"])
    assert list(searching.naming(names.spelled(), [micro.home.archive])) == []
    assert kbsync(micro, "audit", "verify", "--tables")[0] == 0
