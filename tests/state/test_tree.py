"""The tree over the log is that of RFC 6962, whatever its size, and grows with the events."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from benchmarks.audit import measured
from benchmarks.audit_cycles import large, table
from state import State, merkle
from state.hash_chain import link
from state.tree import SPAN, Tree
from tests.support.ledgers import Clock


def note(state: State, count: int) -> None:
    with state.write() as tx:
        for number in range(count):
            tx.emit("check.passed", "test", {"number": number})


def expected(state: State, size: int) -> bytes:
    with state.read() as tx:
        leaves = [merkle.leaf_hash(bytes.fromhex(event.hash)) for event in tx.events(limit=size)]
    return merkle.root(size, merkle.full_nodes(leaves))


def test_roots_and_proofs_of_the_ledger_are_those_of_its_events(state: State) -> None:
    for count in (1, SPAN - 2, 1, 1, 3 * SPAN):
        note(state, count)
    with state.read() as tx:
        tree = Tree(tx.connection)
        size = tree.size
        assert size == 4 * SPAN + 1
        assert tx.connection.execute(text("SELECT count(*) FROM subtrees")).scalar() == 4
        leaves = {event.seq: bytes.fromhex(event.hash) for event in tx.events()}
        root = tree.root(size)
        for seq in (1, 2, SPAN, SPAN + 1, size - 1, size):
            proof = tree.inclusion(seq, size)
            leaf = merkle.leaf_hash(leaves[seq])
            assert merkle.root_of_inclusion(seq - 1, size, leaf, proof) == root
        for old in (1, SPAN - 1, SPAN, SPAN + 1, 3 * SPAN, size):
            assert merkle.is_consistent(old, size, tree.root(old), root, tree.consistency(old, size))
    for old in (0, 1, SPAN, size):
        with state.read() as tx:
            assert Tree(tx.connection).root(old) == expected(state, old)


def test_upper_levels_are_kept_too(new_url) -> None:
    """256 × 256 events, their hashes written by hand: only the tree is of interest."""
    state = State.open(new_url("sqlite"), Clock())
    count = SPAN * SPAN + 3
    with state.write() as tx:
        row = {"at": "", "kind": "", "actor": "", "body": "", "previous": ""}
        tx.connection.execute(
            text(
                "INSERT INTO events (seq, at, kind, actor, body, previous, hash) "
                "VALUES (:seq, :at, :kind, :actor, :body, :previous, :hash)"
            ),
            [{"seq": seq, "hash": f"{seq:064x}", **row} for seq in range(1, count + 1)],
        )
    state.migrate()
    with state.read() as tx:
        tree = Tree(tx.connection)
        heights = "SELECT height, count(*) FROM subtrees GROUP BY height ORDER BY height"
        assert tx.connection.execute(text(heights)).fetchall() == [(1, SPAN), (2, 1)]
        leaves = merkle.full_nodes([merkle.leaf_hash(seq.to_bytes(32)) for seq in range(1, count + 1)])
        assert tree.root(count) == merkle.root(count, leaves)
        assert tree.inclusion(77, count) == merkle.inclusion(76, count, leaves)
        assert tree.consistency(300, count) == merkle.consistency(300, count, leaves)
    state.close()


def test_a_tree_that_was_filled_in_part_is_filled_further(state: State) -> None:
    note(state, 5 * SPAN)
    with state.write() as tx:
        tx.connection.execute(text("DELETE FROM subtrees WHERE number > 0"))
        Tree(tx.connection).grow(2)
        assert Tree(tx.connection).missing() == 2 * SPAN
    state.migrate()
    assert state.audit.verify().ok
    with state.read() as tx:
        assert Tree(tx.connection).missing() == 0
        assert Tree(tx.connection).root(5 * SPAN) == expected_of(tx)


def expected_of(tx) -> bytes:
    leaves = [merkle.leaf_hash(bytes.fromhex(event.hash)) for event in tx.events()]
    return merkle.root(len(leaves), merkle.full_nodes(leaves))


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE subtrees SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE number = 1",
        "UPDATE subtrees SET number = 7 WHERE number = 1",
        "INSERT INTO subtrees (height, number, hash) VALUES (2, 0, 'x')",
    ],
)
def test_a_row_of_the_tree_that_is_not_that_of_its_events_is_named(state: State, attack: str) -> None:
    note(state, 2 * SPAN)
    assert state.audit.verify().ok
    with state.write() as tx:
        tx.connection.execute(text(attack))
    found = state.audit.verify()
    assert (found.ok, found.failed) == (False, "tables")
    assert found.differences[0].table == "subtrees"


def test_an_older_ledger_gets_its_tree_when_it_is_migrated(tmp_path: Path) -> None:
    state = State.open(f"sqlite:///{tmp_path / 'kbsync.db'}", Clock())
    state.migrate("0014")
    with state.write() as tx:
        row = {"at": "2024-01-01T00:00:00.000000Z", "kind": "k", "actor": "a", "body": "{}"}
        previous = "0" * 64
        for seq in range(1, 2 * SPAN + 1):
            event = {**row, "seq": seq, "run": None, "fact": None, "previous": previous, "rows": None}
            event["hash"] = previous = link(event)
            names = ", ".join(event)
            values = ", ".join(f":{name}" for name in event)
            tx.connection.execute(text(f"INSERT INTO events ({names}) VALUES ({values})"), event)
    state.migrate()
    with state.read() as tx:
        assert Tree(tx.connection).missing() == 0
        assert tx.connection.execute(text("SELECT count(*) FROM subtrees")).scalar() == 2
    assert state.audit.verify().ok
    state.close()


def test_the_benchmark_measures_proofs_that_hold(tmp_path: Path) -> None:
    """Its own assertions verify every proof it times; how long they take is not asked here."""
    found = measured(tmp_path / "ledger.db", 600)
    assert found["events"] == 600
    assert 0 < max(found["inclusion_and_head_bytes"]) < 2_000


def test_the_logs_share_of_a_pull_is_a_part_of_it(tmp_path: Path) -> None:
    imported, changed = (cycle.row for cycle in large(tmp_path, 2_000, 500))
    assert imported["events"] > 2_000
    assert changed["events"] > 500
    for row in (imported, changed):
        assert row["tree_percent"] <= row["append_percent"] < 100
    assert len(table([imported, changed]).splitlines()) == 4
