"""The value that a slot had at an earlier instant, from what its sources state now: pure functions of a slot's history.

Admission is asked as if it were that instant: which statements were current then, by their start and end dates, is
decided by today's rule (`connectors.current.read`).  Values need not settle, since they are not news, and nothing
counts as wanted already.  What reviewers and the policy have decided since holds: a rejected value is left out of the
past too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from connectors.current import read
from kbsync.admission.history import History, Stated
from kbsync.admission.timeline import changed_at
from kbsync.admission.verdicts import Accept, Verdict
from state.records import Fact


def as_of(history: History, at: datetime) -> History:
    """`history` as admission has to see it to decide what the slot's value was at `at`."""
    by_source: dict[str, list[Stated]] = {}
    for observation in history.observations:
        by_source.setdefault(observation.source, []).append(observation)
    stated = (_valid_at(seen, at) for _, seen in sorted(by_source.items()))
    facts = (replace(fact, status="superseded") if _is_open(fact) else fact for fact in history.facts)
    return replace(
        history,
        observations=tuple(replace(one, modified=None) for one in stated),
        facts=tuple(facts),
        bootstrap=True,
    )


def stated_by(history: History, verdict: Verdict) -> Fact | None:
    """The ledger's fact that states the accepted value, with the prompt that it is pinned to; None if there is none.

    What is wanted now, and what was wanted last, are preferred to rows with a newer wording: their edits are cached.
    `history` is today's.
    """
    if not isinstance(verdict, Accept):
        return None
    rows = [fact for fact in history.facts if fact.object == verdict.object]
    wanted = [fact for fact in rows if fact.status == "wanted"]
    spelled = [fact for fact in rows if history.spells(fact, verdict.value)]
    return max(wanted or spelled, key=lambda fact: (fact.updated, fact.id), default=None)


def _valid_at(seen: Sequence[Stated], at: datetime) -> Stated:
    """What one source states about `at`: its newest revision, by the dates of the statements.

    A source that dates nothing says when a value began by stating it: then the revision counts that was the newest at
    that time, and before the first one that was read, the first one.
    """
    newest = seen[-1]
    dated = any(one.start is not None or one.end is not None for one in newest.held)
    if dated or (newest.held and not read(newest.held, at).values):
        return newest
    return next((one for one in reversed(seen) if changed_at(one) <= at), seen[0])


def _is_open(fact: Fact) -> bool:
    """Whether the row stands in the way of asking again: it is wanted, or only waits for time to pass."""
    return fact.status in ("wanted", "held")
