"""Nobody changes, adds or removes a row past this program without the verifier naming it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Table, select, text, update

from state import State, seals
from state.columns import UTCDateTime
from state.records import BaseAnswer, Difference, Probe, Rendering, Slot, StoredEntity
from state.tables import LedgerTable
from tests.support.databases import NewUrl
from tests.support.ledgers import BASE, START, fact, gate, planned, said, staged
from tests.support.replay import check

SEALED = [source for source in LedgerTable.metadata.sorted_tables if seals.is_sealed(source)]
PLACES = [
    (source.name, column.name)
    for source in SEALED
    for column in source.columns
    if column.name not in seals.LEFT_OUT.get(source.name, ())
    and (source.name, column.name) != ("pauses", "id")
]


def history(state: State) -> None:
    """A ledger in which every table has rows: observed, decided, built, promoted, rolled back, deployed, paused."""
    lease = state.acquire_lease("leader", "first", timedelta(hours=1))
    with state.write() as tx:
        tx.put_entities([StoredEntity("wd:Q38", "Italy", ("Italia",), True), StoredEntity("wd:Q1", "Anna")])
        tx.record([said(), said("wd:Q40", '["wd:Q2"]')])
        tx.put_slots([Slot("wd:Q38", "wdt:P6", "Italy", "The head of government of {} is", "k" * 64)])
        tx.set_cursor("wikidata", "one")
        tx.put_renderings([Rendering("wdt:P6", "The head of government of {} is", "one", False)])
        tx.put_merges({"wd:Q1": "wd:Q2"}, (), "wikidata")
        (first, *_) = tx.put_facts([fact("wd:Q38"), fact("wd:Q39", status="held", held_until=START)], "x")
        tx.put_probes(
            first.id, [Probe("neighbour", "The head of Spain is", "Bob"), Probe("alias", "Italia", "A")]
        )
    with state.write() as tx:
        tx.put_base_answers(BASE, {first.id: BaseAnswer(False, "Carl")})
        run = planned(tx)
        tx.begin_attempt(run.id, "local:host:1")
        one = tx.advance_run(run.id, "planned", "building", actor="x")
        made = tx.create_checkpoint(run.id, run.view, BASE, "1-1", "digest")
        tx.advance_run(run.id, "building", "built", actor="x", checkpoint=made.id)
        tx.put_gate_results(run.id, [gate(run.id), gate(run.id, "fluency", 0.95)])
        tx.end_attempt(1, "succeeded", {"peak": 1.5})
        assert one.round == 1
    with state.write() as tx:
        tx.advance_run(run.id, "built", "judged", actor="x")
        tx.advance_run(run.id, "judged", "staged", actor="x")
        tx.promote(made.id, lease, run=run.id, hooks=["server", "link"])
        tx.move_deployment(1, "pending", "deploying", actor="x")
        tx.move_deployment(1, "deploying", "deployed", actor="x", observed="1-1")
    other = None
    with state.write() as tx:
        other = staged(tx, "wd:Q41", "wd:Q9")
        tx.promote(other.id, lease, hooks=["server"])
        tx.promote(made.id, lease)
        tx.block_view(other.view, "it was wrong", "ada")
        tx.pin(made.id, "the first", "ada")
        tx.move_fact(3, "quarantined", "gate efficacy", "x")
        tx.decide(3, "rejected", "no", "ada")
        tx.decide(1, "approved", "yes", "ada")
        tx.begin_request(tx.ask("sync", {}, "at once", "ada").id, "first")
        tx.create_token("ada", "reviewer", START + timedelta(days=1), "root")
        tx.keep_forgotten(["wd:Q99"], "a request", "ada")
        tx.pause("lunch", "ada")


def other_value(column: Column[Any], old: Any) -> Any:
    """Another value that the column takes; one that its CHECK allows."""
    words = {
        "status": ("held", "superseded") if "subject_label" in column.table.c else ("rejected",),
        "decision": ("approved", "rejected"),
        "state": ("refused",) if column.table.name == "requests" else ("failed",),
        "outcome": ("failed",),
        "kind": ("same_subject",),
        "role": ("operator",),
    }.get(column.name)
    if words:
        return next(word for word in words if word != old)
    if isinstance(column.type, UTCDateTime):
        return (old or START) + timedelta(days=1)
    if isinstance(old, bool):
        return not old
    return f"{old}x" if isinstance(old, str) else (old or 0) + 1000


def tamper(state: State, statement: Any) -> int:
    """What someone with SQL does: a statement of his own, with constraints out of the way."""
    from state.database import migration_engine

    engine = migration_engine(state.url)
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        changed = connection.execute(text(statement) if isinstance(statement, str) else statement).rowcount
    engine.dispose()
    return changed


@pytest.fixture
def written(state: State) -> State:
    history(state)
    check(state)
    return state


@pytest.fixture(scope="module")
def file(new_url: NewUrl) -> Path:
    """A SQLite ledger with that history, to be copied."""
    state = State.open(new_url("sqlite"))
    history(state)
    check(state)
    state.close()
    return Path(str(state.url.database))


@pytest.mark.parametrize(("name", "column"), PLACES)
def test_every_changed_value_is_found(file: Path, tmp_path: Path, name: str, column: str) -> None:
    copy = tmp_path / "ledger.db"
    shutil.copy(file, copy)
    state = State.open(f"sqlite:///{copy}")
    source: Table = LedgerTable.metadata.tables[name]
    with state.read() as tx:
        row = tx.connection.execute(select(source)).mappings().first()
    assert row is not None, f"the history leaves {name} empty"
    this = [source.c[key.name] == row[key.name] for key in source.primary_key.columns]
    tamper(state, update(source).where(*this).values({column: other_value(source.c[column], row[column])}))
    found = state.audit.verify_tables()
    state.close()
    assert not found.ok, f"{name}.{column} was changed and nobody saw it"
    assert {one.table for one in found.differences} & {name, "views"}, found.differences


@pytest.mark.parametrize("name", [source.name for source in SEALED] + ["view_facts", "views"])
def test_every_deleted_row_is_found(written: State, name: str) -> None:
    assert tamper(written, f"DELETE FROM {name}")
    found = written.audit.verify_tables()
    assert not found.ok
    assert name in {one.table for one in found.differences} or found.unlike > len(found.differences)


@pytest.mark.parametrize(
    ("attack", "named"),
    [
        ("UPDATE gate_results SET passed = true WHERE name = 'efficacy'", None),
        ("UPDATE gate_results SET passed = false", "gate_results 1/1/efficacy: passed is False; the log says True"),
        ("UPDATE gate_results SET value = 0.1 WHERE name = 'fluency'", "gate_results 1/1/fluency: value is 0.1"),
        ("UPDATE facts SET status = 'wanted' WHERE id = 3", "facts 3: status is 'wanted'; the log says 'quarantined'"),
        ("UPDATE facts SET decision = 'approved' WHERE id = 3", "facts 3: decision is 'approved'; the log says 'rejec"),
        ("UPDATE facts SET decision = NULL WHERE id = 3", "facts 3: decision is None; the log says 'rejected'"),
        ("UPDATE facts SET target = 'Mallory' WHERE id = 1", "facts 1: its text does not match its key"),
        ("UPDATE facts SET prompt_key = 'm' WHERE id = 1", "facts 1: the row is not the one that event"),
        ("UPDATE slots SET prompt_key = 'm' WHERE id = 1", "slots 1: the row is not the one that event"),
        ("UPDATE base_answers SET known = true", "base_answers bbbbbbbbbbbb/1: the row is not the one"),
        ("UPDATE entities SET label = 'Mallory' WHERE id = 'wd:Q1'", "entities wd:Q1: the row is not the one"),
        ("UPDATE observations SET statements = '[]' WHERE id = 1", "observations 1: the row is not the one"),
        ("UPDATE probes SET target = 'Mallory'", "probes 1: the row is not the one that event"),
        ("UPDATE checkpoints SET digest = 'other' WHERE id = 1", "checkpoints 1: digest is 'other'; the log says"),
        ("UPDATE checkpoints SET path = '2-1' WHERE id = 1", "checkpoints 1: path is '2-1'; the log says '1-1'"),
        ("DELETE FROM blocked_views", "blocked_views"),
        ("UPDATE runs SET state = 'deployed' WHERE id = 1", "runs 1: state is 'deployed'; the log says 'staged'"),
        ("UPDATE leases SET generation = 7", "leases leader: generation is 7; the log says 1"),
        ("DELETE FROM pauses", "pauses 1: the row is gone"),
        ("DELETE FROM view_facts WHERE view = 2 AND fact = 1", "view_facts 2: its facts are not those of view"),
        ("INSERT INTO blocked_views SELECT digest, 'x', 'x', created FROM views WHERE id = 1", "no event mentions"),
        ("INSERT INTO entities (id, aliases) VALUES ('wd:Q7', '[]')", "entities wd:Q7: no event mentions"),
    ],
)  # fmt: skip
def test_what_would_alter_what_is_live_is_named(written: State, attack: str, named: str | None) -> None:
    assert tamper(written, attack)
    found = written.audit.verify_tables()
    assert written.audit.verify().ok, "the chain alone does not see it"
    if named is None:
        assert found.ok, "what was passed before is passed now: nothing was changed"
        return
    assert not found.ok
    assert any(named in str(one) for one in found.differences), found.differences
    assert (found.first_bad, found.unlike >= 1) == (None, True)


def test_a_row_put_back_as_it_was_is_what_the_log_says_again(written: State) -> None:
    tamper(written, "UPDATE facts SET status = 'superseded' WHERE id = 1")
    assert not written.audit.verify_tables().ok
    tamper(written, "UPDATE facts SET status = 'wanted' WHERE id = 1")
    check(written)


def test_a_broken_chain_is_reported_before_any_row(written: State) -> None:
    tamper(written, "DROP TRIGGER events_no_update") if written.url.get_backend_name() == "sqlite" else None
    tamper(written, "UPDATE events SET actor = 'mallory' WHERE seq = 3")
    tamper(written, "UPDATE facts SET status = 'superseded' WHERE id = 1")
    found = written.audit.verify_tables()
    assert (found.ok, found.first_bad, found.differences) == (False, 3, ())


def test_seals_cost_nothing_where_nothing_new_was_said(state: State) -> None:
    """A source that is read again and again without news leaves no events."""
    with state.write() as tx:
        tx.record([said(f"wd:Q{number}") for number in range(10)])
        tx.set_cursor("wikidata", "one")
    head = state.audit.anchor()
    for revision in range(2, 5):
        with state.write() as tx:
            tx.record([said(f"wd:Q{number}", revision=revision) for number in range(10)])
            tx.set_cursor("wikidata", f"read at {revision}")
    assert state.audit.anchor().seq == head.seq
    check(state)


def test_differences_are_listed_up_to_a_limit_and_all_counted(state: State) -> None:
    with state.write() as tx:
        tx.put_facts([fact(f"wd:Q{number}") for number in range(60)], "x")
    tamper(state, "UPDATE facts SET status = 'retracted'")
    found = state.audit.verify_tables()
    assert (len(found.differences), found.unlike) == (20, 60)
    assert isinstance(found.differences[0], Difference)
    assert found.reason.startswith("60 rows do not match the log; the first is facts")
