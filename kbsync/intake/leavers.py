"""Forget or rename the statements of sources that were removed from the settings.

A removed source's statements count until an operator decides otherwise, because a name that is missing
from the settings may be a mistake.  Both operations work in pages, each in one transaction with its
event, so that after a crash the next call continues where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from kbsync.intake.pull import PAGE, Intake
from state.ledger import Transaction


@dataclass(frozen=True, slots=True)
class Left:
    """The result of forgetting or renaming a source."""

    slots: int
    """Slots about which the source had statements."""
    facts: int
    """Facts that changed as a result."""


def forget(intake: Intake, source: str, namespace: str | None, reason: str, actor: str) -> Left:
    """Remove the statements of `source` (with `namespace`: about subjects with that prefix) and admit the slots again.

    Values that no other source states are retracted at once.
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
    """Attribute the statements of `old`, and the open facts that came from them, to `new`."""
    slots = _to_the_end(intake, lambda tx: len(tx.rename_statements(old, new, reason, actor, limit=PAGE)))
    facts = _to_the_end(intake, lambda tx: tx.attribute_facts(old, new, actor, limit=PAGE))
    return Left(slots, facts)


def _to_the_end(intake: Intake, step: Callable[[Transaction], int]) -> int:
    """Repeat `step`, each time in its own transaction, until it finds nothing; return the total."""
    write: Callable[[], AbstractContextManager[Transaction]] = intake.write
    total = 0
    while True:
        with write() as tx:
            done = step(tx)
        total += done
        intake.alive()
        if not done:
            return total
