"""The tables come and go by migration, on both databases, and never half."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from state import State, migrations
from state.database import migration_engine
from state.errors import NewerSchema, NotMigrated
from state.records import Probe, StoredObservation
from state.tables import LedgerTable
from tests.support.ledgers import START, Clock, carried, fact, planned
from tests.support.paths import REPOSITORY

ROOT = REPOSITORY


def names(state: State) -> set[str]:
    with state.read() as tx:
        return set(inspect(tx.connection).get_table_names())


def test_the_migrated_tables_are_the_declared_ones(state: State) -> None:
    with state.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx.connection), LedgerTable.metadata) == []


def test_down_to_nothing_and_up_again(state: State) -> None:
    state.downgrade("base")
    assert names(state) == {"alembic_version"}
    with pytest.raises(NotMigrated, match="migrate"):
        state.check_migrated()
    state.migrate()
    state.migrate()
    state.check_migrated()
    with state.write() as tx:
        tx.put_facts([fact()], "x")
    assert state.audit.verify().count == 1


def test_a_ledger_of_a_newer_version_is_left_alone(state: State) -> None:
    set_revision(state, "9999")
    for use in (state.check_migrated, state.migrate, lambda: state.downgrade("base")):
        with pytest.raises(NewerSchema, match=r"revision 9999.*upgrade the program"):
            use()
    assert "events" in names(state)


def test_a_ledger_of_an_older_version_asks_for_migration(state: State) -> None:
    set_revision(state, "0000")
    with pytest.raises(NotMigrated, match=rf"revision 0000.*needs {migrations.newest()}.*back it up"):
        state.check_migrated()


def test_the_newest_revision_is_alembics_head() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrations.HERE))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.newest()]


def test_a_migration_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    with migration_engine(state.url).begin() as connection:
        connection.execute(text("CREATE TABLE gate_results (in_the_way INTEGER)"))
    with pytest.raises(DBAPIError, match="already exists"):
        state.migrate()
    assert names(state) == {"gate_results"}
    state.close()


def test_two_daemons_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    command = [sys.executable, "-c", f"from state import State; State.open({url!r}).migrate()"]
    both = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    state = State.open(url)
    state.check_migrated()
    state.close()


def test_recreating_a_table_keeps_the_logs_triggers_and_every_row(new_url) -> None:
    """What a later batch migration does on SQLite: the table is copied, renamed and indexed again."""
    state = State.open(new_url("sqlite"))
    with state.write() as tx:
        (one,) = tx.put_facts([fact()], "x")
        tx.create_view([one])
    with migration_engine(state.url).begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        with operations.batch_alter_table("facts", recreate="always") as batch:
            batch.alter_column("reason", nullable=True)
        assert connection.execute(text("PRAGMA foreign_key_check")).fetchall() == []
    with state.read() as tx:
        assert tx.wanted() == (one,)
        assert "uq_facts_wanted" in {index["name"] for index in inspect(tx.connection).get_indexes("facts")}
    with pytest.raises(DBAPIError, match="append-only"), state.write() as tx:
        tx.connection.execute(text("DELETE FROM events"))
    state.close()


def test_a_run_goes_on_after_an_upgrade_in_its_middle(new_url) -> None:
    state = State.open(new_url("sqlite"), Clock())
    with state.write() as tx:
        tx.put_facts([fact()], "x")
        run = carried(tx, planned(tx), "judged")
    with migration_engine(state.url).begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        for name in ("runs", "checkpoints", "gate_results"):
            with operations.batch_alter_table(name, recreate="always"):
                pass
    lease = state.acquire_lease("leader", "first", 60)
    with state.write() as tx:
        (found,) = tx.open_runs()
        assert found == run
        staged = tx.advance_run(run.id, "judged", "staged", actor="x")
        assert tx.promote(staged.checkpoint, lease).status == "live"
    assert state.audit.verify().ok
    state.close()


def test_an_older_ledgers_observations_become_spans_and_what_is_current_stays(new_url) -> None:
    """At 0001 a repeat left only its number in `readings`: here revision 3 repeats 1, with and without a
    late revision between them."""
    state = State.open(new_url("sqlite"), Clock())
    state.downgrade("0001")
    with migration_engine(state.url).begin() as connection:
        for slot, rows in enumerate(([(1, "a", False)], [(1, "a", False), (2, "b", True)]), 1):
            connection.execute(
                text(f"INSERT INTO slots (id, subject, relation) VALUES ({slot}, 's{slot}', 'r')")
            )
            for revision, word, late in rows:
                connection.execute(
                    text(
                        "INSERT INTO observations VALUES (:id, 'kb', :slot, :revision, :at, :at, :said, :late)"
                    ),
                    {
                        "id": 10 * slot + revision,
                        "slot": slot,
                        "revision": revision,
                        "at": f"2024-01-0{revision} 00:00:00.000000",
                        "said": word,
                        "late": late,
                    },
                )
            connection.execute(
                text(f"INSERT INTO readings VALUES ({slot}, 'kb', {slot}, 3, {10 * slot + 1})")
            )
    state.migrate()
    state.check_migrated()
    pairs = [("s1", "r"), ("s2", "r")]
    with state.read() as tx:
        told = [[(one.revision, one.statements) for one in tx.histories([pair])[pair]] for pair in pairs]
        current = [(tx.current([pair])[pair][0].statements) for pair in pairs]
    assert told == [[(1, "a")], [(1, "a"), (2, "b"), (3, "a")]]
    assert current == ["a", "a"]
    with state.write() as tx:
        late = StoredObservation("kb", "s1", "r", 2, None, START, "b")
        assert tx.record([late, replace(late, revision=3, statements="a")]) == ["late", "duplicate"]
        assert [one.revision for one in tx.histories(pairs[:1])[pairs[0]]] == [1, 2, 3]
    state.downgrade("0001")
    state.migrate()
    state.close()


def test_reasons_of_an_older_ledger_get_their_code_and_decisions_their_date(state: State) -> None:
    rows = [
        ("held", "settling: it has not stood long enough (wd:Q1: new)", None),
        ("quarantined", "gate efficacy: answers 'x' on its own prompt (run 1, round 1)", None),
        ("quarantined", "rolled back: wrong", None),
        ("quarantined", "somebody wrote this by hand: no code", None),
        ("retracted", "rejected: vandalism", "rejected"),
        ("wanted", "its successor failed a gate", None),
    ]
    with state.write() as tx:
        facts = [fact(f"wd:Q{n}", status=status) for n, (status, _, _) in enumerate(rows)]
        ids = [one.id for one in tx.put_facts(facts, "x")]
    state.downgrade("0003")
    with state.write() as tx:
        for id, (_, reason, decision) in zip(ids, rows, strict=True):
            statement = text("UPDATE facts SET reason = :reason, decision = :decision WHERE id = :id")
            tx.connection.execute(statement, {"reason": reason, "decision": decision, "id": id})
    state.migrate()
    with state.read() as tx:
        found = [(one.reason_code, one.reason, one.decision) for one in tx.facts()]
        dates = {one.id: one.decided for one in tx.facts()}
        updated = {one.id: one.updated for one in tx.facts()}
    assert found == [
        ("settling", "it has not stood long enough (wd:Q1: new)", None),
        ("gate", "gate efficacy: answers 'x' on its own prompt (run 1, round 1)", "barred"),
        ("rolled_back", "rolled back: wrong", "barred"),
        ("", "somebody wrote this by hand: no code", None),
        ("rejected", "vandalism", "rejected"),
        ("restored", "its successor failed a gate", None),
    ]
    assert [dates[id] == updated[id] for id in ids] == [False, True, True, False, True, False]
    state.downgrade("0003")
    with state.read() as tx:
        back = tx.connection.execute(text("SELECT reason FROM facts ORDER BY id")).scalars().all()
    assert back == [reason for _, reason, _ in rows]
    state.migrate()


def test_aliases_of_an_older_ledger_get_the_name_that_their_prompt_is_about(state: State) -> None:
    prompts = [
        ("alias", "The head of state of Italian Republic is", "Italian Republic"),
        ("alias", "The head of state of  is  is", " is "),
        ("alias", "Somebody else's template", None),
        ("neighbour", "The head of state of Spain is", None),
    ]
    with state.write() as tx:
        (one,) = tx.put_facts([replace(fact(), template="The head of state of {} is")], "x")
        tx.put_probes(one.id, [Probe(kind, prompt, "x") for kind, prompt, _ in prompts])  # type: ignore[arg-type]
    with keeping_salts(state):
        state.downgrade("0012")
        state.migrate()
    with state.read() as tx:
        assert [(probe.prompt, probe.name) for probe in tx.probes(one.id)] == [
            (prompt, name) for _, prompt, name in prompts
        ]
    assert state.audit.verify_tables().ok


@contextmanager
def keeping_salts(state: State) -> Iterator[None]:
    """An older revision has no place for the salts of events, without which the log does not verify."""
    with state.read() as tx:
        salts = tx.connection.execute(text("SELECT seq, salt, seal_salt FROM events")).mappings().all()
    yield
    again = text("UPDATE events SET salt = :salt, seal_salt = :seal_salt WHERE seq = :seq")
    with state.write() as tx, tx._events_writable():
        for row in salts:
            tx.connection.execute(again, dict(row))


def test_no_migration_recreates_the_log() -> None:
    """It would lose the triggers; adding a column does not need it."""
    for path in (migrations.HERE / "versions").glob("*.py"):
        assert 'batch_alter_table("events"' not in path.read_text()


def set_revision(state: State, revision: str) -> None:
    with state.write() as tx:
        tx.connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
