"""Sources that left the settings: their statements are forgotten, or go on under another name.

What a source once stated votes until somebody says otherwise: a name that is missing in the settings may
be a mistake.  Both steps work a page at a time, each page one transaction with its event, so a process
that is killed goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from kbsync.intake.pull import PAGE, Intake
from state.ledger import Transaction


@dataclass(frozen=True, slots=True)
class Left:
    """What became of a source that left."""

    slots: int
    """Slots of which it had stated something."""
    facts: int
    """Facts that changed with them."""


def forget(intake: Intake, source: str, namespace: str | None, reason: str, actor: str) -> Left:
    """Removes what `source` stated (with `namespace`: of subjects with that prefix) and judges the slots again.

    What no other source states is retracted at once.
    """
    admission = intake.admission()
    slots = facts = 0
    while True:
        with intake.write() as tx:
            pairs = tx.forget_statements(source, reason, actor, limit=PAGE, namespace=namespace)
            admitted = admission.admit(tx, pairs, intake.clock(), forgotten=True)
        slots, facts = slots + len(pairs), facts + sum(one.changed for one in admitted)
        intake.alive()
        if not pairs:
            return Left(slots, facts)


def rename(intake: Intake, old: str, new: str, reason: str, actor: str) -> Left:
    """Gives what `old` stated, and the open facts that came of it, to `new`."""
    slots = _to_the_end(intake, lambda tx: len(tx.rename_statements(old, new, reason, actor, limit=PAGE)))
    facts = _to_the_end(intake, lambda tx: tx.attribute_facts(old, new, actor, limit=PAGE))
    return Left(slots, facts)


def _to_the_end(intake: Intake, step: Callable[[Transaction], int]) -> int:
    """Repeats a step, each time in a transaction of its own, until it finds nothing; the sum."""
    write: Callable[[], AbstractContextManager[Transaction]] = intake.write
    total = 0
    while True:
        with write() as tx:
            done = step(tx)
        total += done
        intake.alive()
        if not done:
            return total
