"""Old events are moved into files: the log verifies with them and without, and all that is in use is as before."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kbsync.home import Home
from kbsync.proofs import keys
from kbsync.service import retention
from state import merkle
from state.anchors import append, read_anchors
from state.archives.files import Archive
from state.audit import read_jsonl, verify_rows
from state.errors import AnchorContradicted, ArchiveMissing
from state.ledger import State
from state.notes import Note, TreeHead
from state.records import Anchor
from tests.support.admission_world import DAY, Clock, OpenWorld, World
from tests.support.archived import archive, files, led, live_through, verified
from tests.support.postgres import running_postgres

CUT = 768
"""Events of `world` that are older than 30 days, in whole runs of 256."""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


@pytest.fixture(scope="module")
def lived(open_world: OpenWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Home]:
    """Four values, of which the last is wanted; a key signs.  Only read by tests, which get copies."""
    world, home = open_world(), Home(tmp_path_factory.mktemp("lived") / "home").prepare()
    with led(world, home):
        live_through(world, "abcd")
    world.state.close()
    return world, home


@pytest.fixture
def world(lived: tuple[World, Home], home: Home, tmp_path: Path) -> Iterator[World]:
    """A copy of `lived`, with its home in `home`."""
    template, at = lived
    shutil.copytree(at.root, home.root, dirs_exist_ok=True)
    shutil.copy(str(template.state.url.database), tmp_path / "world.db")
    clock = Clock(template.clock())
    state = State.open(f"sqlite:///{tmp_path / 'world.db'}", clock, archive=home.archive)
    yield World(state, clock, kb=deepcopy(template.kb))
    state.close()


@contextmanager
def away(*moved: Path) -> Iterator[None]:
    for path in moved:
        path.rename(path.parent.parent / path.name)
    try:
        yield
    finally:
        for path in moved:
            (path.parent.parent / path.name).rename(path)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]


def count(world: World) -> int:
    with world.state.read() as tx:
        return int(tx.connection.exec_driver_sql("SELECT count(*) FROM events").scalar_one())


def tamper(world: World, statement: str) -> None:
    """As somebody with SQL would."""
    with world.state.write() as tx:
        for verb in ("update", "delete"):
            tx.connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS events_no_{verb}")
        tx.connection.exec_driver_sql(statement)


def test_old_events_move_into_files_and_the_log_verifies_with_them_and_without(
    world: World, home: Home
) -> None:
    before = count(world)
    exported = io.StringIO()
    world.state.audit.export_jsonl(exported)
    with world.state.read() as tx:
        wanted = [fact for fact in tx.facts() if fact.status == "wanted"]
        about = tx.events(fact=wanted[0].id)
    with led(world, home, archive=30 * DAY) as (app, leadership):
        (foreseen,) = retention.preview(app)
        (done,) = retention.apply(app, leadership)
    assert done.count == foreseen.count > 700
    assert count(world) < before - 700
    assert sum(len(rows(file)) for file in files(home)) == CUT
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in home.archive.iterdir())
    with world.state.read() as tx:
        assert tx.events(fact=wanted[0].id) == about, "what is in use stays"
        assert [one for one in tx.events(kind="fact.superseded") if one.seq <= CUT] == []
        assert tx.events(kind="key.created")
    whole = verified(world)
    assert (whole.ok, whole.archived) == (True, ()), whole
    after = io.StringIO()
    world.state.audit.export_jsonl(after)
    assert after.getvalue().startswith(exported.getvalue())
    assert verify_rows(read_jsonl(after.getvalue().splitlines())).ok
    with away(*files(home)):
        found = verified(world)
        assert (found.ok, len(found.archived)) == (True, 1), found
        assert found.count == whole.count - CUT
        with pytest.raises(ArchiveMissing, match="put it back"):
            world.state.audit.export_jsonl(io.StringIO())


def test_proofs_about_archived_events_are_made_from_their_file(world: World, home: Home) -> None:
    with led(world, home) as (app, _):
        root = world.state.audit.root(700)
    archive(world, home)
    with led(world, home) as (app, _):
        signer = keys.signer(app)
        assert signer is not None
        note, [(row, proof)] = world.state.audit.proven([5], signer)
        head = TreeHead.parse(Note.parse(note).text)
        leaf = merkle.leaf_hash(bytes.fromhex(row["hash"]))
        assert merkle.root_of_inclusion(4, head.size, leaf, proof) == head.root
        assert world.state.audit.root(700) == root
        proof = world.state.audit.consistency(700, head.size)
        assert merkle.is_consistent(700, head.size, root, head.root, proof)
        with away(*files(home)):
            assert len(world.state.audit.consistency(CUT, head.size)) > 0, "no archived event is needed"
            with pytest.raises(ArchiveMissing):
                world.state.audit.consistency(700, head.size)
            with pytest.raises(ArchiveMissing):
                world.state.audit.proven([5], signer)


def test_a_second_cut_needs_no_file_of_the_first_but_the_state(world: World, home: Home) -> None:
    archive(world, home)
    first = files(home)
    with led(world, home):
        live_through(world, "ef")
    with away(*first):
        assert archive(world, home)["archive"] > 500
        assert len(files(home)) == 1
        assert verified(world).ok
    assert len(files(home)) == 2
    assert len(files(home, "state")) == 1
    found = verified(world)
    assert (found.ok, found.archived) == (True, ())
    assert archive(world, home) == {"archive": 0, "archived": 0}


def test_admission_decides_as_if_everything_were_in_the_ledger(open_world: OpenWorld, tmp_path: Path) -> None:
    """Values that come back, and one that a person rejected and took up again, before the cut and after it."""
    ends = []
    for name in ("kept", "archived"):
        world, home = open_world(), Home(tmp_path / name).prepare()
        with led(world, home):
            live_through(world, "abac")
            with world.state.write() as tx:
                tx.decide(world.fact("italy", "bda").id, "rejected", "wrong", "test")
                tx.decide(world.fact("italy", "bda").id, None, "right after all", "test")
            live_through(world, "de")
        if name == "archived":
            assert archive(world, home)["archive"] > 1000
        with led(world, home):
            live_through(world, "bcf")
        assert verified(world).ok
        with world.state.read() as tx:
            ends.append([(one.object, one.status, one.reason_code, one.decision) for one in tx.facts()])
            assert len(tx.events(kind="fact.reopened")) == 1
    assert ends[0] == ends[1]


def test_without_a_key_nothing_is_archived(open_world: OpenWorld, home: Home) -> None:
    world = open_world()
    live_through(world, "abcd")
    world.state.archive = Archive(home.archive)
    with led(world, home) as (app, _):
        for file in home.keys.glob("*.pem"):
            file.unlink()
    with led(world, home, archive=30 * DAY) as (app, leadership):
        (done,) = retention.apply(app, leadership)
    assert (done.count, "key" in done.reason) == (0, True), done
    assert not home.archive.exists()


CHANGES = {
    "UPDATE events SET actor = 'Mallory' WHERE seq = (SELECT min(seq) FROM events WHERE kind = 'key.created')": "1",
    "DELETE FROM events WHERE seq = (SELECT min(seq) FROM events WHERE kind = 'key.created')": "missing",
    "UPDATE facts SET target = 'Mallory' WHERE id = 1": "facts 1",
    "UPDATE facts SET status = 'retracted' WHERE id = 1": "archived",
    "UPDATE facts SET reason = 'Mallory' WHERE id = 4": "facts 4",
    "DELETE FROM events WHERE seq = 1030": "1030",
    "UPDATE events SET kind = 'events.archive_' WHERE kind = 'events.archived'": "",
}


@pytest.mark.parametrize("statement", CHANGES)
def test_a_change_after_the_cut_is_found_with_the_files_and_without(
    statement: str, world: World, home: Home
) -> None:
    archive(world, home)
    assert verified(world).ok
    tamper(world, statement)
    found = verified(world)
    assert not found.ok
    assert CHANGES[statement] in f"{found.first_bad} {found.reason}"
    with away(*files(home)):
        assert not verified(world).ok


def test_a_changed_tree_is_found_without_the_files(world: World, home: Home) -> None:
    archive(world, home)
    tamper(world, "UPDATE subtrees SET hash = (SELECT hash FROM events WHERE seq = 1100) WHERE number = 2")
    assert verified(world).failed == "tables"
    with away(*files(home)):
        found = verified(world)
        assert (found.ok, "tree" in found.reason) == (False, True)


@pytest.mark.parametrize("kind", ["events", "state"])
def test_a_changed_file_is_named(kind: str, world: World, home: Home) -> None:
    archive(world, home)
    (file,) = files(home, kind)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    found = verified(world)
    assert (found.ok, file.name in found.reason) == (False, True), found
    assert "was written" in found.reason


def test_a_missing_state_is_named_where_the_files_are_away(world: World, home: Home) -> None:
    archive(world, home)
    with away(*files(home, "state")):
        assert verified(world).ok
        with away(*files(home)):
            found = verified(world)
            assert (found.ok, files(home, "state")) == (False, [])
            assert "state-" in found.reason


def test_a_cut_that_nobody_signed_excuses_nothing(world: World, home: Home) -> None:
    with led(world, home), world.state.write() as tx:
        body = {"last": 512, "before": "2024", "hash": "0" * 64, "root": "0" * 64, "segments": []}
        tx.emit(
            "events.archived", "Mallory", {**body, "state": {"file": "x", "digest": "y"}, "signature": ""}
        )
    tamper(world, "DELETE FROM events WHERE seq <= 512 AND kind <> 'key.created'")
    found = verified(world)
    assert (found.ok, found.failed) == (False, "chain")


def test_no_log_is_cut_beyond_the_newest_head_of_a_witness(world: World, home: Home, tmp_path: Path) -> None:
    kept = tmp_path / "heads.jsonl"
    with world.state.read() as tx:
        hashes = {row.seq: row.hash for row in tx.connection.exec_driver_sql("SELECT seq, hash FROM events")}
    for seq in (100, 700):
        append(kept, Anchor(seq, hashes[seq], world.clock()))
    with led(world, home, kept, archive=30 * DAY) as (app, leadership):
        signer = keys.signer(app)
        assert signer is not None
        retention.apply(app, leadership)
        with world.state.read() as tx:
            cut = tx.cut()
        assert cut is not None
        assert cut.last == 512, "the newest head, of 700 events, has to be compared in any case"
        heads = read_anchors(kept)
        assert world.state.audit.verify(*heads).ok
        forged = (Anchor(100, "f" * 64, world.clock()), heads[-1])
        assert world.state.audit.verify(*forged).failed == "anchors"
        with away(*files(home)):
            assert world.state.audit.verify(*heads).ok
            assert world.state.audit.verify(heads[0]).failed == "anchors", "it has no head after the cut"
            assert (
                world.state.audit.verify(heads[0], Anchor(700, "f" * 64, world.clock())).failed == "anchors"
            )
            assert world.state.audit.write_anchor(kept, signer) is not None
            assert world.state.audit.verify_since(read_anchors(kept)[-1], [read_anchors(kept)]).ok
            lone = tmp_path / "lone.jsonl"
            append(lone, heads[0])
            with pytest.raises(ArchiveMissing):
                world.state.audit.write_anchor(lone, signer)
        wrong = tmp_path / "wrong.jsonl"
        append(wrong, forged[0])
        with pytest.raises(AnchorContradicted):
            world.state.audit.write_anchor(wrong, signer)


def test_what_was_wanted_before_the_cut_is_read_from_the_files(world: World, home: Home) -> None:
    ends = world.clock()
    times = [ends - days * DAY for days in (170, 100, 40, 0)]
    with world.state.read() as tx:
        expected = [tx.wanted_at(at) for at in times]
    assert [len(one) for one in expected] == [1, 1, 1, 1]
    archive(world, home)
    with world.state.read() as tx:
        assert [tx.wanted_at(at) for at in times] == expected
    with away(*files(home)), world.state.read() as tx:
        assert tx.wanted_at(ends) == expected[-1]
        with pytest.raises(ArchiveMissing):
            tx.wanted_at(times[0])


def named(home: Home, word: str) -> list[str]:
    return [
        path.name
        for path in sorted(home.archive.iterdir())
        if word.encode() in gzip.decompress(path.read_bytes())
    ]


@pytest.mark.parametrize("where", ["there", "away"])
def test_a_forgotten_subject_is_erased_from_the_files(where: str, world: World, home: Home) -> None:
    with led(world, home):
        live_through(world, "ef", subject="ada_byron")
        live_through(world, "gh")
    archive(world, home)
    assert len(named(home, "ada_byron")) == 2
    segments = files(home)
    with led(world, home) as (app, leadership):
        signer = keys.signer(app)
        assert signer is not None
        with away(*(segments if where == "away" else ())):
            with leadership.write() as tx:
                erased = tx.erase_subject("wd:ada_byron", "asked", "test", signer.signature)
            world.state.tidy_archive()
            found = verified(world)
            assert found.ok, found
            assert found.archived == (tuple(file.name for file in segments) if where == "away" else ())
        if where == "away":
            assert verified(world).ok, "the file that came back is not read"
            assert world.state.tidy_archive() == [file.name for file in segments]
        assert erased.facts == 2
        assert not named(home, "ada_byron")
        with away(*files(home)):
            found = verified(world)
            assert found.ok, found
        live_through(world, "ij")
    assert archive(world, home)["archive"] > 100
    assert verified(world).ok


def test_files_are_deleted_after_their_time(world: World, home: Home) -> None:
    assert archive(world, home)["archived"] == 0
    world.clock.forward(500 * DAY)
    done = archive(world, home)
    assert done["archived"] == 1
    (left,) = files(home)
    assert left.name.startswith(f"events-{CUT + 1:012}")
    found = verified(world)
    assert (found.ok, len(found.archived)) == (True, 1), found


def killed(point: str, world: World, home: Home) -> None:
    """A process applies the policy to the home's ledger, and dies."""
    command = [sys.executable, "-m", "tests.support.archived", str(home.root), world.clock().isoformat()]
    environment = {**os.environ, "KBSYNC_CRASH": f"kbsync.archiving:{point}"}
    life = subprocess.run(command, env=environment, capture_output=True, timeout=600)
    assert life.returncode == -signal.SIGKILL, life.stderr


@pytest.fixture
def at_home(world: World, home: Home) -> World:
    """The same with its ledger where a process looks for it."""
    world.state.close()
    shutil.copy(str(world.state.url.database), home.database)
    return World(State.open(f"sqlite:///{home.database}", world.clock, archive=home.archive), world.clock)


@pytest.mark.parametrize(
    "point",
    [
        "after-state",
        *(
            pytest.param(point, marks=pytest.mark.slow)
            for point in ("after-segment", "after-event", "after-page")
        ),
    ],
)
def test_killed_at_a_crash_point_the_next_application_ends_the_same(
    point: str, at_home: World, home: Home
) -> None:
    before = count(at_home)
    killed(point, at_home, home)
    found = verified(at_home)
    assert (found.ok, found.archived) == (True, ()), found
    at_home.clock.forward(DAY)
    archive(at_home, home)
    assert verified(at_home).ok
    assert count(at_home) < before - 700
    assert len(files(home)) == len(files(home, "state")) == 1
    with away(*files(home)):
        assert verified(at_home).ok


def test_killed_when_the_time_of_files_is_over_the_next_application_deletes_them(
    at_home: World, home: Home
) -> None:
    archive(at_home, home)
    at_home.state.close()
    at_home.clock.forward(500 * DAY)
    killed("after-end", at_home, home)
    assert len(files(home)) == 2
    found = verified(at_home)
    assert (found.ok, len(found.archived)) == (True, 1), found
    archive(at_home, home)
    assert len(files(home)) == 1
    assert verified(at_home).ok


@pytest.mark.postgres
def test_on_postgresql_the_same_is_archived(world: World, home: Home, tmp_path: Path) -> None:
    def content(of: Home) -> list[tuple[object, ...]]:
        (file,) = files(of)
        return [(row["seq"], row["kind"]) for row in rows(file)]

    archive(world, home)
    other = Home(tmp_path / "postgres").prepare()
    with running_postgres() as url:
        clock = Clock()
        state = State.open(url, clock)
        state.migrate()
        twin = World(state, clock)
        with led(twin, other):
            live_through(twin, "abcd")
        archive(twin, other)
        assert content(other) == content(home)
        assert count(twin) == count(world)
        with away(*files(other)):
            found = verified(twin)
            assert (found.ok, len(found.archived)) == (True, 1), found
        assert verified(twin).ok
        state.close()
