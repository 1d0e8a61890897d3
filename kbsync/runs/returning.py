"""What happens to facts when live goes back to an earlier checkpoint.

Only facts that the left checkpoint replaced come back.  What was retracted, rejected, denied, quarantined or
removed since stays out, although the earlier checkpoint states it.
"""

from __future__ import annotations

from dataclasses import dataclass

from kbsync.admission.meaning import newest_decision
from state import Snapshot, Transaction
from state.records import Checkpoint, Fact, Move, SlotKey


@dataclass(frozen=True, slots=True)
class Returning:
    """The effect of going back from one view to an earlier one on the facts of both."""

    leaving: tuple[Fact, ...]
    """Wanted, and only in the view that is left: quarantined for review."""
    back: tuple[Fact, ...]
    """In the earlier view, and superseded by values of the left view: wanted again."""
    out: tuple[Fact, ...]
    """In the earlier view, and not wanted after the rollback either."""
    withdrawn: tuple[Fact, ...]
    """Those of `out` that nothing will replace, or that live does not state: the earlier checkpoint must not go
    live with them."""


def returning(tx: Snapshot, left: Checkpoint, target: Checkpoint) -> Returning:
    """The effect of a rollback from `left` to `target`.  A slot that wants something newer than both keeps it."""
    earlier, own = tx.view_facts(target.view), tx.view_facts(left.view)
    earlier_ids, own_ids = {fact.id for fact in earlier}, {fact.id for fact in own}
    leaving = tuple(fact for fact in own if fact.id not in earlier_ids and fact.status == "wanted")
    replaced = {_slot(fact) for fact in own if fact.id not in earlier_ids}
    slots = tx.facts_of(map(_slot, earlier))
    gone = {fact.id for fact in leaving}
    taken = {
        slot for slot, facts in slots.items() if any(f.status == "wanted" and f.id not in gone for f in facts)
    }
    entities = tx.entities({fact.object for facts in slots.values() for fact in facts})
    back = tuple(
        fact
        for fact in earlier
        if fact.status == "superseded"
        and _slot(fact) in replaced - taken
        and newest_decision(slots[_slot(fact)], entities, fact.object) not in ("rejected", "barred")
    )
    wanted = taken | {_slot(fact) for fact in back}
    coming = {fact.id for fact in back}
    out = tuple(fact for fact in earlier if fact.status != "wanted" and fact.id not in coming)
    known = tx.known_facts(target.base, (fact.id for fact in out))
    edited = (fact for fact in out if fact.id not in known)
    withdrawn = (fact for fact in edited if _slot(fact) not in wanted or fact.id not in own_ids)
    return Returning(leaving, back, out, tuple(withdrawn))


def apply(tx: Transaction, what: Returning, reason: str, actor: str) -> None:
    """Update the desired state: what leaves goes first, since a slot wants one fact at a time."""
    leaving = (
        Move(fact.id, "quarantined", reason, "wanted", reason_code="rolled_back", bars=True)
        for fact in what.leaving
    )
    tx.move_facts(list(leaving), actor)
    coming = (Move(fact.id, "wanted", reason, fact.status, reason_code="restored") for fact in what.back)
    tx.move_facts(list(coming), actor)


def _slot(fact: Fact) -> SlotKey:
    return fact.subject, fact.relation
