"""What the audit log must show: nothing went live that was not wanted in the transaction of its promotion."""

from __future__ import annotations

import json

from state import State
from state.records import Event


def newly_unwanted(state: State) -> list[str]:
    """Promotions that newly stated facts that were not wanted once their transaction was over."""
    with state.read() as tx:
        events = tx.events()
        views = {one.view: {fact.id for fact in tx.view_facts(one.view)} for one in tx.checkpoints()}
        known = {one.view: tx.known_facts(one.base, views[one.view]) for one in tx.checkpoints()}
    found: list[str] = []
    status: dict[int, str] = {}
    live: set[int] = set()
    promoted: tuple[Event, str] | None = None
    for event in events:
        if promoted is not None and not _belongs(event, promoted[0]):
            found += _wrong(promoted[0], views[promoted[1]] - live - known[promoted[1]], status)
            live, promoted = views[promoted[1]], None
        body = json.loads(event.body)
        if event.kind.startswith("fact.") and "to" in body and event.fact is not None:
            status[event.fact] = body["to"]
        elif event.kind == "checkpoint.promoted":
            promoted = event, body["view"]
    if promoted is not None:
        found += _wrong(promoted[0], views[promoted[1]] - live - known[promoted[1]], status)
    return found


def _belongs(event: Event, promotion: Event) -> bool:
    """A rollback's facts follow it in the same transaction, and for the same reason.

    Their instants are the same only where a test turns the clock by hand.
    """
    if not event.kind.startswith(("fact.", "view.", "run.", "checkpoint.")):
        return False
    why = str(json.loads(promotion.body)["reason"])
    same_reason = why.startswith("rollback: ") and str(json.loads(event.body).get("reason", "")).endswith(
        why.removeprefix("rollback: ")
    )
    return same_reason or event.at == promotion.at


def _wrong(promotion: Event, new: set[int], status: dict[int, str]) -> list[str]:
    return [
        f"event {promotion.seq} promoted fact {fact}, which was {status.get(fact)}"
        for fact in sorted(new)
        if status.get(fact) != "wanted"
    ]
