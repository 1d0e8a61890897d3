"""Decisions made after a backup: a restore preserves those that keep a value out.

A restore discards what came after the backup: sources are read again, and gates judge again.  Decisions of people
would be lost, so whatever was rejected, retracted, removed by a gate or rolled back since the backup stays out in the
restored ledger.  Approvals and reversals (`reopen`, `unretract`) are not carried over: a reviewer can repeat them,
and until then the value is out.
"""

from __future__ import annotations

from collections.abc import Sequence

from kbsync.service.archive import Contents
from state import Snapshot, State, Transaction
from state.errors import ArchiveMissing, StateError
from state.log_proofs import archived_event
from state.records import Fact, FactStatus, Move

KEEP_OUT = ("rejected", "barred")
_OUT: tuple[FactStatus, ...] = ("quarantined", "retracted", "superseded")


def made_since(state: State, contents: Contents) -> tuple[Fact, ...]:
    """Facts of the ledger in `state` that a decision made after the backup keeps out.

    Empty if that ledger is not a continuation of the backup's (its log does not contain the backup's head), or if it
    cannot be read: a damaged ledger is a common reason to restore.
    """
    try:
        with state.read() as tx:
            if contents.head and not _continues(tx, contents):
                return ()
            cut = tx.cut()
            if cut is not None and contents.head < cut.last:
                # Events of decisions may be archived.  What was decided before the backup is no news to `keep_out`.
                return tuple(fact for fact in tx.facts() if fact.decision in KEEP_OUT)
            later = {event.fact for event in tx.events(after=contents.head, kind="fact.*")} - {None}
            return tuple(fact for fact in tx.facts(ids=later) if fact.decision in KEEP_OUT)  # type: ignore[arg-type]
    except StateError:
        return ()
    finally:
        state.close()


def _continues(tx: Snapshot, contents: Contents) -> bool:
    """Whether the log has the backup's head; where its file is away, whether it is a log of the same ledger."""
    cut = tx.cut()
    if cut is None or contents.head > cut.last:
        return [one.hash for one in tx.events(after=contents.head - 1, limit=1)] == [contents.hash]
    try:
        return bool(archived_event(tx.connection, tx.archive, contents.head)["hash"] == contents.hash)
    except ArchiveMissing:
        return tx.instance() == contents.instance


def keep_out(tx: Transaction, decided: Sequence[Fact], actor: str) -> int:
    """Repeat the other ledger's decisions in the restored one; returns how many facts that changes."""
    slots = tx.facts_of({(fact.subject, fact.relation) for fact in decided})
    kept = 0
    for fact in decided:
        rows = slots.get((fact.subject, fact.relation), ())
        own = next((row for row in rows if row.key == fact.key), None)
        if own is not None and own.decision == fact.decision:
            continue
        why = f"decided after the backup: {fact.reason}"
        if own is None:
            (own,) = tx.put_facts([fact.offered(status="held", reason=why)], actor)
        if fact.decision == "rejected":
            tx.decide_facts([own.id], "rejected", why, actor)
        to = fact.status if fact.status in _OUT else "quarantined"
        barred = fact.decision == "barred"
        tx.move_facts([Move(own.id, to, why, own.status, reason_code=fact.reason_code, bars=barred)], actor)
        kept += 1
    return kept
