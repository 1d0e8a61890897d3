"""A process that works on a ledger until it is killed: it imports, plans, builds and promotes for ever.

It tells after each commit how far it came, on a pipe that survives it, so that the test knows what
must not be lost.
"""

from __future__ import annotations

import random
from datetime import timedelta
from multiprocessing.connection import Connection

from state import State, Transaction
from state.errors import NoLongerWanted, StateError
from state.records import Lease
from tests.support.ledgers import BASE, WAY, fact, gate, said

SLOTS = 40
"""Each import changes one slot of forty; its number is the cursor."""


def write_for_ever(url: str, name: str, seed: int, done: Connection) -> None:
    state, chance = State.open(url), random.Random(seed)
    lease = state.acquire_lease(f"leader of {name}", name, timedelta(hours=1))
    while True:
        with state.write() as tx:
            number = next_import(tx) if chance.random() < 0.6 else None
            if number is None:
                move_a_run(tx, lease, chance)
        if number is not None:
            done.send(number)


def next_import(tx: Transaction) -> int:
    """One step of a source: observation, facts and cursor together."""
    number = int(tx.cursor("source") or 0) + 1
    subject, object = f"wd:Q{number % SLOTS}", f"wd:Q{1000 + number}"
    assert tx.record([said(subject, f'["{object}"]', revision=number, source="source")]) == ["new"]
    for old in tx.facts(status="wanted", subject=subject):
        tx.move_fact(old.id, "superseded", "a newer value", "admission", expect="wanted")
    tx.put_facts([fact(subject, object, revision=number)], "admission")
    tx.set_cursor("source", str(number))
    return number


def move_a_run(tx: Transaction, lease: Lease, chance: random.Random) -> None:
    """One edge of an open run, or a new run."""
    runs = tx.open_runs()
    if not runs:
        tx.create_run(tx.create_view(tx.wanted()).digest, BASE, "test")
        return
    run = chance.choice(runs)
    to = WAY[WAY.index(run.state) + 1]
    checkpoint = None
    if to == "built":
        checkpoint = tx.create_checkpoint(run.id, run.view, BASE, str(run.id), f"digest of {run.id}").id
    if to == "judged":
        tx.put_gate_results(run.id, [gate(run.id)])
    if to == "promoted" and run.checkpoint is not None:
        try:
            tx.promote(run.checkpoint, lease, run=run.id, hooks=["symlink"])
        except NoLongerWanted as error:  # an import came between, as it may with a daemon
            tx.advance_run(run.id, run.state, "rejected", actor="daemon", reason=str(error))
            return
    tx.advance_run(run.id, run.state, to, actor="daemon", checkpoint=checkpoint)


def promote_after_a_pause(url: str, lease: Lease, checkpoint: int, told: Connection) -> None:
    """An ex-leader: ready to promote, stopped (SIGSTOP) by the test, then let go on."""
    state = State.open(url)
    told.send("ready")
    told.recv()
    try:
        with state.write() as tx:
            tx.promote(checkpoint, lease)
        told.send("promoted")
    except StateError as error:
        told.send(f"{type(error).__name__}: {error}")
