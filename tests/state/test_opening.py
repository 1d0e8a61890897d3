"""Opening, locking and failing: one clear error each, and nothing half-written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from datetime import datetime
from pathlib import Path

import pytest

from state import State
from state.errors import Busy, Damaged, NotMigrated, StateError, Unreachable
from tests.support.ledgers import fact, said
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY
NOBODY = 65534


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite://", "sqlite:///:memory:", "no url at all"])
def test_what_cannot_hold_a_ledger_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(Unreachable, match=r"use sqlite:////path/to/kbsync\.db or postgresql://"):
        State.open(url)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"nowhere.*does not exist"):
        State.open(f"sqlite:///{tmp_path / 'nowhere' / 'kbsync.db'}")


def test_looking_at_a_ledger_that_is_not_there_makes_no_file(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'kbsync.db'}")
    for use in (state.check_migrated, lambda: state.acquire_lease("leader", "me", 1), state.audit.verify):
        with pytest.raises(NotMigrated, match="no ledger at"):
            use()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "kbsync.db"
    path.write_text("This is a letter, not a database. " * 100)
    state = State.open(f"sqlite:///{path}")
    for use in (state.check_migrated, state.migrate):
        with pytest.raises(Damaged, match=r"kbsync\.db is not a ledger, or is corrupt"):
            use()


def test_a_directory_without_permission_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        parent.chmod(0o755)
    me = os.geteuid()
    if me == 0:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(Unreachable, match=rf"{home} cannot be read and written by this user"):
            State.open(f"sqlite:///{home}/kbsync.db")
    finally:
        os.seteuid(me)


def test_a_database_that_nobody_serves_is_named_without_its_password() -> None:
    state = State.open("postgresql://ada:secret@127.0.0.1:1/ledger")
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/ledger.*check the server") as told:
        state.check_migrated()
    assert "secret" not in str(told.value)


def test_a_writer_that_waits_in_vain_is_told_to_try_again(state: State) -> None:
    hasty = State.open(state.url.render_as_string(hide_password=False), busy=0.2)
    with state.write(), pytest.raises(Busy, match="locked"), hasty.write():
        pass
    with hasty.write() as tx:
        tx.emit("note", "x", {})
    hasty.close()


def test_readers_see_one_state_and_stop_nobody(state: State) -> None:
    with state.read() as before:
        assert before.count_facts() == {}
        with state.write() as tx:
            tx.put_facts([fact()], "x")
        assert before.count_facts() == {}, "a snapshot does not change"
        with state.read() as after:
            assert after.count_facts() == {"wanted": 1}


def test_a_reader_cannot_write(state: State) -> None:
    with pytest.raises(Exception, match=r"(?i)read.?only"), state.read() as tx:
        tx.connection.exec_driver_sql("DELETE FROM cursors")


def test_an_exception_takes_everything_back(state: State) -> None:
    with pytest.raises(ZeroDivisionError), state.write() as tx:
        tx.put_facts([fact(reason=str(1 / len(tx.put_facts([fact("wd:Q5")], "x")[1:])))], "x")
    with state.read() as tx:
        assert tx.facts() == ()
        assert tx.head() is None


def test_instants_without_a_time_zone_are_refused(state: State) -> None:
    naive = datetime(2024, 1, 1)
    with pytest.raises(Exception, match="no time zone"), state.write() as tx:
        tx.record([said(observed=naive)])


def test_threads_share_a_state_and_lose_nothing(state: State) -> None:
    def write(name: str) -> None:
        for number in range(20):
            with state.write() as tx:
                seen = len(tx.events())
                tx.emit("note", name, {"number": number, "seen": seen})

    threads = [threading.Thread(target=write, args=(f"thread {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with state.read() as tx:
        assert [f'"seen":{number}' in event.body for number, event in enumerate(tx.events())] == [True] * 80
    assert state.audit.verify().count == 80


COUNTER = """
import sys
from state import State
state = State.open(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with state.write() as tx:
        seen = int(tx.cursor("counter") or 0)
        tx.set_cursor("counter", str(seen + 1))
        tx.emit("counted", sys.argv[3], {"to": seen + 1})
"""


def test_two_processes_that_read_then_write_lose_no_update(state: State) -> None:
    url = state.url.render_as_string(hide_password=False)
    both = [
        subprocess.Popen([sys.executable, "-c", COUNTER, url, "60", name], cwd=ROOT)
        for name in ("first", "second")
    ]
    assert [one.wait(120) for one in both] == [0, 0]
    with state.read() as tx:
        assert tx.cursor("counter") == "120"
        assert {event.actor for event in tx.events()} == {"first", "second"}
    assert state.audit.verify().count == 120


FULL = """
import resource, signal, sys
from state import State, StateError
from tests.support.ledgers import fact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
state = State.open(sys.argv[1])
try:
    for batch in range(1000):
        with state.write() as tx:
            tx.put_facts([fact(f"wd:Q{batch}-{number}") for number in range(50)], "x")
except StateError as error:
    print(type(error).__name__, batch, error)
"""


def test_a_device_that_takes_no_more_loses_only_what_was_not_committed(new_url) -> None:
    url = new_url("sqlite")
    told = subprocess.run(
        [sys.executable, "-c", FULL, url, "1500000"], cwd=ROOT, capture_output=True, text=True
    )
    kind, batches, message = told.stdout.split(" ", 2)
    assert kind == "Unreachable", told
    assert "free some space" in message
    state = State.open(url)
    with state.read() as tx:
        assert tx.count_facts() == {"wanted": 50 * int(batches)}
    assert state.audit.verify().count == 50 * int(batches)
    state.close()


def test_importing_the_room_does_not_import_the_database_layer() -> None:
    script = textwrap.dedent("""
        import state, state.records, state.errors, sys
        assert not {"sqlalchemy", "sqlmodel", "alembic", "rfc8785"} & set(sys.modules)
        from state import State
        assert "sqlmodel" in sys.modules and "alembic" not in sys.modules
    """)
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_a_copy_taken_while_writing_is_a_complete_ledger(new_url, tmp_path: Path) -> None:
    """The way of docs/state.md: SQLite's online backup, restored by putting the file in place."""
    state = State.open(new_url("sqlite"))
    with state.write() as tx:
        tx.put_facts([fact("wd:Q0")], "x")
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with state.write() as tx:
                tx.put_facts([fact(f"wd:Q{number}")], "x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for copy in range(5):
            place = tmp_path / f"copy{copy}.db"
            with sqlite3.connect(str(state.url.database)) as source, sqlite3.connect(place) as target:
                source.backup(target, pages=5)
    finally:
        stop.set()
        writer.join()
    anchor = state.audit.anchor()
    state.close()
    for copy in range(5):
        restored = State.open(f"sqlite:///{tmp_path / f'copy{copy}.db'}")
        restored.check_migrated()
        with restored.read() as tx:
            assert sum(tx.count_facts().values()) == len(tx.events())
        assert restored.audit.verify().ok
        assert restored.audit.verify(anchor).ok == (restored.audit.anchor().seq == anchor.seq)
        with restored.write() as tx:
            tx.emit("restored", "operator", {})
        restored.close()


def test_every_error_of_the_room_is_in_the_tree_of_its_module() -> None:
    from state import errors

    tree = errors.__doc__ or ""
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, StateError)
    ]
    assert [kind.__name__ for kind in kinds if kind.__name__ not in tree] == []
