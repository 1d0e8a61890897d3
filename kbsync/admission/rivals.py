"""The no-conflict constraint (Eqn. 5 of the MEMIT paper) on the rendered prompt: one prompt has one answer.

Rivals are slots that make the same prompt.  Each enters as the `Claim` that it makes by itself, so both
sides of a conflict come to the same conclusion, whichever was there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from editing.folding import fold
from kbsync.admission.codes import UNAPPROVABLE, because
from kbsync.admission.history import History
from kbsync.admission.verdicts import Accept, Hold, Quarantine, Retract, Unchanged, Value, Verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """What a slot by itself would have its prompt answered with; targets are folded."""

    subject: str
    relation: str
    targets: frozenset[str]
    """What it wants or is about to want, else what it waits for or puts before a reviewer."""
    pending: frozenset[str]
    """What it wants from `until` on, if that is something else."""
    wanted: str | None
    """What the ledger has as wanted now."""
    until: datetime | None
    """When `wanted` gives way; None: at once, or never."""
    approved: bool
    """Whether a reviewer has approved it."""

    def agrees(self, other: Claim) -> bool:
        """Whether both can be true of one prompt, if need be by waiting for one of them."""
        ways = ((self.targets, other.targets), (self.pending, other.targets), (self.targets, other.pending))
        if not self.targets or not other.targets:
            return True
        return any(mine and theirs and len(mine | theirs) == 1 for mine, theirs in ways)


def check_rivals(verdict: Verdict, history: History, rivals: Sequence[Claim]) -> Verdict:
    """`verdict` among the slots that make the same prompt (Eqn. 5 on the rendered prompt)."""
    if not rivals:
        return verdict
    own = claim_of(verdict, history)
    for rival in sorted(rivals, key=lambda claim: (claim.subject, claim.relation)):
        if not own.agrees(rival) and (rival.approved or not own.approved):
            told = f"{rival.subject} {rival.relation} says {', '.join(sorted(rival.targets))}"
            return Quarantine(
                because("homonym", told), values_of(verdict), withdraw=True, stated=verdict.stated
            )
    if isinstance(verdict, Accept):
        waits = [r.until for r in rivals if r.until is not None and r.wanted not in (None, *own.targets)]
        if waits:  # a rival still wants its old object: both change over together
            return Hold(
                max(waits), because("settling", "together with the slots of one prompt"), verdict.value
            )
    return verdict


def claim_of(verdict: Verdict, history: History) -> Claim:
    """What a slot with this verdict claims; what no approval could let in claims nothing."""
    wanted = fold(history.wanted.target) if history.wanted else None
    values = frozenset(fold(value.target) for value in values_of(verdict))
    pending: frozenset[str] = frozenset()
    match verdict:
        case Retract() | Hold(value=None):
            targets: frozenset[str] = frozenset()
        case Quarantine(withdraw=False) | Hold() | Unchanged() if wanted is not None:
            targets, pending = frozenset({wanted}), values if isinstance(verdict, Hold) else pending
        case Quarantine() if verdict.reason.code in UNAPPROVABLE:
            targets = frozenset()
        case _:
            targets = values
    return Claim(
        subject=history.slot.subject,
        relation=history.slot.relation,
        targets=targets,
        pending=pending,
        wanted=wanted,
        until=verdict.until if isinstance(verdict, Hold) else None,
        approved=any(history.approved(value) for value in values_of(verdict))
        or (history.wanted is not None and history.wanted.decision == "approved"),
    )


def values_of(verdict: Verdict) -> tuple[Value, ...]:
    if isinstance(verdict, Quarantine):
        return verdict.values
    if isinstance(verdict, Accept):
        return (verdict.value,)
    return (verdict.value,) if isinstance(verdict, Hold) and verdict.value is not None else ()
