"""Planning: from the wanted facts to the decision to run, and the view to build.

`decide` is pure.  A run starts if the facts that change weights differ between what is wanted and what is live;
facts that the base already knows are in the view as probes and start nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kbsync.settings.sections import PlanSettings, ReviewSettings
from state.records import Fact


@dataclass(frozen=True, slots=True)
class Plan:
    """A view worth building."""

    facts: tuple[Fact, ...]
    """The view, sorted by key: edited and known facts."""
    new: tuple[Fact, ...]
    """Edited facts that are not in live."""
    removed: tuple[Fact, ...]
    """Facts that live was edited with and that are no longer wanted: leaving them out un-edits them."""
    waiting: tuple[Fact, ...]
    """Wanted, but beyond the base's capacity."""
    known: frozenset[int]
    """Ids of the facts that the base states unedited."""


@dataclass(frozen=True, slots=True)
class NothingToDo:
    reason: str
    waiting: tuple[Fact, ...] = ()


def decide(
    wanted: Sequence[Fact],
    live: Sequence[Fact] | None,
    known: Mapping[int, bool],
    settings: PlanSettings,
    now: datetime,
    *,
    asked: bool,
    rebuilt: bool = False,
) -> Plan | NothingToDo:
    """What to build, or why nothing is built.

    Beyond the capacity, facts of higher priority come first, then those that live states, then those that
    have been wanted for longest.

    `live` is the view of the live checkpoint (None: there is none yet); `known` maps fact ids to whether the base
    states them; `asked` means that an operator wants the run now, whatever the thresholds are.  The thresholds are
    also ignored if a reviewer has rejected a fact of live, and if `rebuilt`: live was built from another base, or has
    to be built again.
    """
    known_ids = frozenset(fact.id for fact in wanted if known.get(fact.id, False))
    live_ids = {fact.id for fact in live or ()}
    edits = sorted(
        (fact for fact in wanted if fact.id not in known_ids),
        key=lambda f: (-f.priority, f.id not in live_ids, f.since, f.key),
    )
    edited, waiting = edits[: settings.capacity], tuple(edits[settings.capacity :])
    view = tuple(sorted((*edited, *(fact for fact in wanted if fact.id in known_ids)), key=lambda f: f.key))
    edited_ids = {fact.id for fact in edited}
    new = tuple(fact for fact in edited if fact.id not in live_ids)
    removed = tuple(
        fact for fact in live or () if fact.id not in edited_ids and not known.get(fact.id, False)
    )
    pending = len(new) + len(removed)
    if (live is None and view) or (live is not None and rebuilt):
        return Plan(view, new, removed, waiting, known_ids)
    if pending == 0:
        return NothingToDo(HOLDS_ALL if live is not None else NONE_WANTED, waiting)
    oldest = min(fact.since for fact in (*new, *removed))
    urgent = any(fact.decision == "rejected" for fact in removed)
    # An instant in the future was written by a clock that was ahead: treat it as having waited long enough.
    waited = oldest > now or now - oldest >= settings.max_wait
    if not (asked or urgent or waited) and pending < settings.min_pending:
        return NothingToDo(
            f"{pending} changes are pending; a run starts at {settings.min_pending}, "
            f"or when the oldest has waited {settings.max_wait}",
            waiting,
        )
    return Plan(view, new, removed, waiting, known_ids)


def withdrawal(
    wanted: Sequence[Fact], live: Sequence[Fact] | None, known: Collection[int], *, restored: bool = False
) -> Plan | None:
    """The smallest change that removes from live what is no longer wanted; None if there is nothing to remove.

    A fact that has a successor stays until the successor replaces it, unless the ledger was `restored` since live was
    promoted: the successor may have been served already, and an earlier value must not come back in its place.
    `known` are the ids of facts that the base states unedited.
    """
    ids = {fact.id for fact in wanted}
    slots = set() if restored else {(fact.subject, fact.relation) for fact in wanted}
    removed = tuple(
        fact
        for fact in live or ()
        if fact.id not in ids and (fact.subject, fact.relation) not in slots and fact.id not in known
    )
    if not removed:
        return None
    gone = {fact.id for fact in removed}
    rest = tuple(sorted((fact for fact in live or () if fact.id not in gone), key=lambda fact: fact.key))
    return Plan(rest, (), removed, (), frozenset(fact.id for fact in rest if fact.id in known))


HOLDS_ALL = "live already holds every wanted fact that fits"
NONE_WANTED = "no fact is wanted yet (`kbsync sources` and `kbsync facts` show what was read and what waits)"

WITHDRAWAL = "withdrawal"
"""Trigger of a run that only removes what was withdrawn from live; it needs no review."""


def review_needed(settings: ReviewSettings, new: Sequence[Fact]) -> bool:
    """Whether a candidate that newly states `new` needs a reviewer's approval before it goes live."""
    return settings.required or any(fact.relation in settings.relations for fact in new)
