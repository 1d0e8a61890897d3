"""What a verdict does to the ledger's rows of one slot: a pure function from both to moves and new rows.

Rules that every verdict shares: a held row that is not the one being waited for is superseded; a
quarantined row stays for its reviewer only as long as some source states its object; a wanted row
carries, as `held_until`, the instant at which time alone may change the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kbsync.history import History
from kbsync.verdicts import (
    Accept,
    Hold,
    Quarantine,
    Reason,
    Retract,
    Unchanged,
    Value,
    Verdict,
)
from state.records import Fact, FactStatus, Move, NewFact

MAX_CANDIDATES = 8
"""Values of one slot put before a reviewer; a slot that states more is a mistake as a whole."""

_GONE = Reason("gone", "the source does not state this value any more")
_SUCCESSOR = Reason("successor", "the slot has another value now")


@dataclass(frozen=True, slots=True)
class Consequences:
    """Moves come first: the slot's old object leaves before the new one enters."""

    moves: tuple[Move, ...] = ()
    puts: tuple[NewFact, ...] = ()


def consequences(history: History, verdict: Verdict) -> Consequences:
    """The rows to write; none if the ledger already is as the verdict says."""
    puts, wanted_move = _own(history, verdict)
    written = {(put.object, put.target, put.subject_label, put.template) for put in puts}
    moves = [] if wanted_move is None else [wanted_move]
    for fact in history.facts:
        if (fact.object, fact.target, fact.subject_label, fact.template) in written:
            continue
        stale = fact.status == "held" or (fact.status == "quarantined" and fact.object not in verdict.stated)
        if stale:
            moves.append(Move(fact.id, "superseded", str(_GONE), expect=fact.status))
    return Consequences(tuple(moves), tuple(puts))


def _own(history: History, verdict: Verdict) -> tuple[list[NewFact], Move | None]:
    """The rows that the verdict names, and what becomes of the wanted one."""
    match verdict:
        case Unchanged():
            return [], _look_again(history, verdict.recheck)
        case Hold(value=None):
            return [], _look_again(history, verdict.until)
        case Hold(value=Value() as value):
            return _put(history, (value,), "held", verdict.reason, verdict.until), _look_again(history, None)
        case Accept():
            puts = _put(history, (verdict.value,), "wanted", verdict.reason, verdict.recheck)
            return puts, _leave(history, "superseded", _SUCCESSOR) if puts else None
        case Retract():
            return [], _leave(history, "retracted", verdict.reason)
        case Quarantine():
            leaving = _leave(history, "quarantined", verdict.reason) if verdict.withdraw else None
            open_values = _before_reviewer(history, verdict)
            puts = _put(history, open_values, "quarantined", verdict.reason, None)
            return puts, leaving or (None if verdict.withdraw else _look_again(history, verdict.recheck))
    raise AssertionError(f"no such verdict: {verdict!r}")


def _before_reviewer(history: History, verdict: Quarantine) -> tuple[Value, ...]:
    """Values that need a row of their own: not what stays wanted, nor what is moved there anyway."""
    return tuple(
        value for value in verdict.values if history.wanted is None or history.row(value) != history.wanted
    )[:MAX_CANDIDATES]


def _put(
    history: History, values: tuple[Value, ...], status: FactStatus, reason: Reason, until: datetime | None
) -> list[NewFact]:
    """Rows for `values` that are not in the ledger as such already."""
    rows = []
    for value in values:
        known = history.row(value)
        if known is not None and (known.status, known.reason, known.held_until) == (
            status,
            str(reason),
            until,
        ):
            continue
        rows.append(_row(history, value, status, reason, until))
    return rows


def _row(
    history: History, value: Value, status: FactStatus, reason: Reason, until: datetime | None
) -> NewFact:
    slot = history.slot
    return NewFact(
        subject=slot.subject,
        subject_label=slot.subject_label,
        relation=slot.relation,
        object=value.object,
        target=value.target,
        template=slot.template,
        prompt_key=slot.prompt_key,
        status=status,
        reason=str(reason),
        source=value.source,
        revision=value.revision,
        statement=value.statement,
        held_until=until,
        priority=value.priority,
    )


def _leave(history: History, to: FactStatus, reason: Reason) -> Move | None:
    wanted = history.wanted
    return None if wanted is None else Move(wanted.id, to, str(reason), expect="wanted")


def _look_again(history: History, at: datetime | None) -> Move | None:
    """Keep what is wanted and look at it again at `at`."""
    wanted: Fact | None = history.wanted
    if wanted is None or wanted.held_until == at:
        return None
    return Move(wanted.id, "wanted", wanted.reason, expect="wanted", held_until=at)
