"""Approval by more than one person (`[review] approvals`): each gives theirs, and the last one carries it out.

An approval is an event that names exactly what is approved, such as a candidate's digest, so it is never counted for
anything else.  Two approvals are two people's if neither the actors nor the identities behind them are the same: a
command's `--actor` is only a claim, so what counts there is also the user that the operating system knows, and in the
pages how the visitor signed in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from kbsync.errors import UsageError
from kbsync.reasons import checked
from state import Transaction
from state.event_kinds import EventKind
from state.event_queries import EventFilter
from state.ledger import Snapshot

KIND: EventKind = "approval.given"


class AlreadyApproved(UsageError):
    """The same person approves something twice, where several have to."""


@dataclass(frozen=True, slots=True)
class About:
    """What is approved: in words that name exactly this, and where its events are found."""

    what: str
    run: int | None = None
    fact: int | None = None


@dataclass(frozen=True, slots=True)
class Approvals:
    """Who has approved something, and how many people have to."""

    by: tuple[str, ...]
    needed: int

    @property
    def missing(self) -> int:
        """How many more people have to approve."""
        return max(0, self.needed - len(self.by))

    def __str__(self) -> str:
        one = "another person has" if self.missing == 1 else f"{self.missing} other people have"
        return f"approved by {' and '.join(self.by)}; {one} to approve it as well"


def of_candidate(run: int, digest: str) -> About:
    """A run's candidate, by its digest."""
    return About(f"candidate {digest}", run=run)


def approvals(tx: Snapshot | Transaction, about: About, needed: int) -> Approvals:
    """Who has approved it so far."""
    return Approvals(tuple(actor for actor, _ in _given(tx, about)), needed)


def approve(tx: Transaction, about: About, needed: int, reason: str, actor: str) -> Approvals:
    """Give one approval; where one person is enough, nothing is written.

    Raises AlreadyApproved if this person has given theirs and others are missing, and NoReason.
    """
    reason = checked(reason)
    if needed == 1:
        return Approvals((actor,), 1)
    if (error := repeated(tx, about, needed, actor)) is not None:
        raise error
    given = _given(tx, about)
    if len(given) < needed:
        body = {"about": about.what, "number": len(given) + 1, "needed": needed, "reason": reason}
        tx.emit(KIND, actor, body, run=about.run, fact=about.fact)
        given = [*given, (actor, tx.identity)]
    return Approvals(tuple(name for name, _ in given), needed)


def repeated(tx: Transaction, about: About, needed: int, actor: str) -> AlreadyApproved | None:
    """Why this person cannot approve it now: they have already, and others are missing; None if they can."""
    given = _given(tx, about)
    if len(given) >= needed:
        return None
    for name, identity in given:
        if name == actor or identity == tx.identity:
            return AlreadyApproved(
                f"{actor} has approved this already{'' if name == actor else f', as {name}'}: "
                f"{needed} different people have to",
                "have somebody else approve it, who signs in to the pages or has an account of their own",
            )
    return None


def check(tx: Snapshot | Transaction, about: About, needed: int) -> None:
    """Raise UsageError unless enough people have approved it; for whoever carries it out."""
    if needed > 1 and (found := approvals(tx, about, needed)).missing:
        who = f"only {', '.join(found.by)} approved this" if found.by else "nobody approved this"
        raise UsageError(f"{who}: {needed} different people have to", "have it approved again")


def _given(tx: Snapshot | Transaction, about: About) -> list[tuple[str, str]]:
    """Actor and identity of each approval, oldest first."""
    chosen = EventFilter(after=_since(tx, about), kind=KIND, run=about.run, fact=about.fact)
    bodies = [(event.actor, json.loads(event.body)) for event in reversed(tx.recent_events(chosen))]
    return [(actor, body.get("os_user", "")) for actor, body in bodies if body["about"] == about.what]


def _since(tx: Snapshot | Transaction, about: About) -> int:
    """The event before which approvals do not count any more: the last thing that happened to the fact."""
    if about.fact is None:
        return 0
    newest = tx.recent_events(EventFilter(kind="fact.*", fact=about.fact), 1)
    return newest[0].seq if newest else 0
