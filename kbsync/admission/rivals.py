"""The no-conflict constraint (Eqn. 5 of the MEMIT paper) on the rendered prompt: one prompt has one answer.

Rivals are slots that render to the same prompt.  Each is represented by the `Claim` that it makes on its
own, so both sides of a conflict come to the same conclusion, whichever came first.
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
    """The answer that a slot on its own requires for its prompt; targets are folded."""

    subject: str
    relation: str
    targets: frozenset[str]
    """Its wanted or newly accepted value; if there is none, its held or quarantined values."""
    pending: frozenset[str]
    """The value that is wanted from `until` on, if it differs."""
    said: frozenset[str]
    """Its values as its sources state them now, whatever is wanted; if there are none, the wanted one."""
    wanted: str | None
    """The target of the fact that the ledger wants now."""
    until: datetime | None
    """When `wanted` is replaced or retracted; None: at once, or never."""
    approved: bool
    """Whether a reviewer has approved it."""

    def agrees(self, other: Claim) -> bool:
        """Whether one answer can satisfy both claims, if necessary after one of them has changed."""
        ways = ((self.targets, other.targets), (self.pending, other.targets), (self.targets, other.pending))
        if not self.targets or not other.targets:
            return True
        return any(mine and theirs and len(mine | theirs) == 1 for mine, theirs in ways)


def check_rivals(verdict: Verdict, history: History, rivals: Sequence[Claim]) -> Verdict:
    """`verdict` after comparison with the slots that render to the same prompt (Eqn. 5)."""
    if not rivals:
        return verdict
    own = claim_of(verdict, history)
    for rival in sorted(rivals, key=lambda claim: (claim.subject, claim.relation)):
        if not own.agrees(rival) and (rival.approved or not own.approved):
            told = f"{rival.subject} {rival.relation} says {', '.join(sorted(rival.said))}"
            return Quarantine(
                because("homonym", told), values_of(verdict), withdraw=True, stated=verdict.stated
            )
    if isinstance(verdict, Accept):
        waits = [r.until for r in rivals if r.until is not None and r.wanted not in (None, *own.targets)]
        if waits:  # a rival still wants its old object: both change together
            return Hold(
                max(waits), because("settling", "together with the slots of one prompt"), verdict.value
            )
    return verdict


def claim_of(verdict: Verdict, history: History) -> Claim:
    """The claim of a slot with this verdict; values that no approval could admit claim nothing."""
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
        said=values or frozenset({wanted} if wanted is not None else ()),
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
