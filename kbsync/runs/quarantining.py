"""Moving facts into quarantine: those that failed a gate, and those that cannot be built at all.

Live's values in the same slots stay wanted: a successor that cannot be learnt replaces nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from editing.fact_failure import FactFailure, FailureCode
from state import Transaction
from state.records import Fact, Move, Run


def quarantine(tx: Transaction, leaving: Iterable[Move], restored: str, actor: str) -> list[Fact]:
    """Move facts into quarantine; returns the facts of live that are wanted again in their place.

    A fact that is no longer wanted (an operator retracted it meanwhile) is left unchanged.
    `restored` is the reason given for the facts of live.
    """
    moves = {move.id: move for move in leaving}
    wanted = [fact for fact in tx.facts(ids=moves) if fact.status == "wanted"]
    tx.move_facts([moves[fact.id] for fact in wanted], actor)
    back = predecessors(tx, moves)
    coming = [Move(fact.id, "wanted", restored, "superseded", reason_code="restored") for fact in back]
    tx.move_facts(coming, actor)
    return back


def predecessors(tx: Transaction, bad: Collection[int]) -> list[Fact]:
    """The facts of live in the slots of the `bad` facts that were superseded there."""
    live = tx.live()
    if live is None:
        return []
    slots = {(fact.subject, fact.relation) for fact in tx.facts(ids=list(bad))}
    return [
        fact
        for fact in tx.view_facts(live.view)
        if (fact.subject, fact.relation) in slots and fact.status == "superseded"
    ]


FOUND_BY_TOKENS: dict[FailureCode, str] = {"label_special": "control_token"}
"""Failures whose code equals that of one of admission's rules, and the codes used instead."""
CANNOT_BE_BUILT = "its successor cannot be built"


def unbuildable(
    failures: Iterable[FactFailure], base: str, settings: str, run: Run | None = None
) -> list[Move]:
    """The moves that quarantine facts which cannot be built, each with its code and its reason.

    `base` and `settings` are digests: on another base, or under other settings, the fact may be built.

    A control token that the tokenizer found, but the check of the label's text did not, has a separate code:
    admission would accept that label, and want the fact again at every reading.
    """
    where = {} if run is None else {"run": run.id, "round": run.round}
    return [
        Move(
            int(failure.id),
            "quarantined",
            failure.reason,
            evidence={**where, "failure": failure.code, "base": base, "settings": settings},
            reason_code=FOUND_BY_TOKENS.get(failure.code, failure.code),
        )
        for failure in failures
        if not failure.wording
    ]
