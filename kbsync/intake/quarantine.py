"""What a reviewer says of a fact, and what follows: the slot is admitted again in the light of it."""

from __future__ import annotations

from editing.folding import fold
from kbsync.admission.verdicts import UNAPPROVABLE, code_of
from kbsync.errors import BadData, UsageError
from kbsync.intake.pull import Intake, Report
from state.errors import NotFound
from state.ledger import Transaction
from state.records import Fact


def approve(intake: Intake, fact_id: int, reason: str, actor: str) -> Report:
    """The value is let in past every doubt that is not a prohibition.

    Only what waits can be approved (held or quarantined).  Raises UsageError for any other fact, for a
    refusal that no approval lifts (naming the setting or the label that has to change first), and where
    another answer to the same prompt is approved already.
    """
    with intake.state.write() as tx:
        fact = _fact(tx, fact_id)
        if fact.status not in ("held", "quarantined"):
            raise UsageError(
                f"fact {fact_id} is {fact.status}: only a held or quarantined fact can be approved",
                "`kbsync quarantine` lists those that wait for a reviewer",
            )
        if (code := code_of(fact.reason)) in UNAPPROVABLE:
            raise UsageError(
                f"fact {fact_id} cannot be approved: {fact.reason}",
                f"change what stands behind the reason `{code}` first, see docs/admission.md",
            )
        if other := _approved_beside(tx, fact):
            raise UsageError(
                f"fact {fact_id} says {fact.target}, but fact {other.id} of {other.subject} with the same prompt "
                f"is approved and says {other.target}",
                f"one prompt has one answer: reject fact {other.id} first",
            )
        tx.decide(fact_id, "approved", reason, actor)
    return intake.readmit([(fact.subject, fact.relation)])


def reject(intake: Intake, fact_id: int, reason: str, actor: str) -> Report:
    """The value is not learnt, however often the source says it; if it is wanted, it is retracted.

    Raises UsageError for a fact that is superseded or retracted already.
    """
    with intake.state.write() as tx:
        fact = _fact(tx, fact_id)
        if fact.status in ("superseded", "retracted"):
            raise UsageError(f"fact {fact_id} is {fact.status} already", "there is nothing to reject")
        tx.decide(fact_id, "rejected", reason, actor)
        tx.move_fact(fact_id, "retracted", f"rejected: {reason}", actor, expect=fact.status)
    return intake.readmit([(fact.subject, fact.relation)])


def _approved_beside(tx: Transaction, fact: Fact) -> Fact | None:
    """An approved fact that gives the slot, or another slot of the same prompt, another answer."""
    slot = (fact.subject, fact.relation)
    same_slot = tx.facts_of([slot]).get(slot, ())
    same_prompt = tx.wanted_with_prompt_keys([fact.prompt_key]).get(fact.prompt_key, ())
    for other in (*same_slot, *same_prompt):
        open_yet = other.status in ("held", "quarantined", "wanted")
        if other.decision == "approved" and open_yet and fold(other.target) != fold(fact.target):
            return other
    return None


def _fact(tx: Transaction, fact_id: int) -> Fact:
    try:
        return tx.fact(fact_id)
    except NotFound as error:
        raise BadData(
            f"there is no fact {fact_id}", "`kbsync facts` lists them with their numbers"
        ) from error
