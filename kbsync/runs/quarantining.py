"""Moving facts into quarantine: those that failed a gate, and those that cannot be built at all.

What live says in the same slots stays wanted: a successor that cannot be learnt takes nothing away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from editing.spec import FactFailure, FailureCode
from state import Transaction
from state.records import Fact, Move, Run


def quarantine(tx: Transaction, leaving: Iterable[Move], restored: str, actor: str) -> list[Fact]:
    """Move facts into quarantine; returns the facts of live that are wanted again in their place.

    A fact that is not wanted any more (an operator retracted it meanwhile) stays as it was left.
    `restored` is the reason that the facts of live are given.
    """
    moves = {move.id: move for move in leaving}
    wanted = [fact for fact in tx.facts(ids=moves) if fact.status == "wanted"]
    tx.move_facts([moves[fact.id] for fact in wanted], actor)
    back = predecessors(tx, moves)
    coming = [Move(fact.id, "wanted", restored, "superseded", reason_code="restored") for fact in back]
    tx.move_facts(coming, actor)
    return back


def predecessors(tx: Transaction, bad: Collection[int]) -> list[Fact]:
    """What live says in the slots of the `bad` facts, and was superseded there."""
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
"""Failures that share their code with one of admission's own rules, and the codes they get instead."""
CANNOT_BE_BUILT = "its successor cannot be built"


def unbuildable(
    failures: Iterable[FactFailure], base: str, settings: str, run: Run | None = None
) -> list[Move]:
    """The moves that quarantine facts which cannot be built, each with its code and its reason.

    `base` and `settings` are digests: on another base, or under other settings, the fact may be built.

    A control token that the tokenizer found, and the check of the label's text did not, has a code of its own:
    admission would find that label clean, and want the fact again at every reading.
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
