"""Turn the verdict on a slot into moves and new rows of the ledger: a pure function.

Three rules apply to every verdict: a held row other than the one the verdict holds is superseded; a
quarantined row is kept for its reviewer only while some source states its object; a wanted row stores in
`held_until` when its verdict may change without a new statement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from kbsync.admission.codes import CODES
from kbsync.admission.history import History
from kbsync.admission.verdicts import (
    Accept,
    Hold,
    Quarantine,
    Reason,
    Retract,
    Value,
    Verdict,
)
from state.records import Fact, FactStatus, Move, NewFact

MAX_CANDIDATES = 8
"""Maximum number of a slot's values that a reviewer is shown; a slot with more is wrong as a whole."""

_GONE = Reason("gone", CODES["gone"])
_SUCCESSOR = Reason("successor", CODES["successor"])
_RESPELLED = Reason("respelled", CODES["respelled"])
_REJECTED = Reason("rejected", CODES["rejected"])


@dataclass(frozen=True, slots=True)
class Consequences:
    """Rows to write, moves first: the slot's old object must leave before the new one enters."""

    moves: tuple[Move, ...] = ()
    puts: tuple[NewFact, ...] = ()


def consequences(history: History, verdict: Verdict) -> Consequences:
    """The moves and new rows of `verdict`; none if the ledger already agrees with it."""
    named, status, until = _named(history, verdict)
    rows = [history.row(value) for value in named]
    puts = [
        _row(history, value, status, verdict.reason, until)
        for value, known in zip(named, rows, strict=True)
        if known is None
        or (known.status, known.reason_code, known.reason, known.held_until)
        != (status, verdict.reason.code, verdict.reason.text, until)
    ]
    kept = {fact.id for fact in rows if fact is not None}
    respelled = {fact.id for value in named if (fact := history.waiting(value)) is not None} - kept
    moves = [_of_wanted(history, verdict)]
    for fact in history.facts:
        if fact.id in kept:
            continue
        if _is_refused(history, fact):
            moves.append(_move(fact, "retracted", _REJECTED))
        elif fact.id in respelled:
            moves.append(_move(fact, "superseded", _RESPELLED))
        elif _is_stale(history, fact, verdict.stated):
            moves.append(_move(fact, "superseded", _GONE))
    return Consequences(tuple(move for move in moves if move is not None), tuple(puts))


def _is_stale(history: History, fact: Fact, stated: frozenset[str]) -> bool:
    """Whether a held or quarantined row that the verdict does not name is obsolete.

    A held row always is; a quarantined row is if its object is no longer stated or its labels have changed.
    A barred value stays as long as it is stated under any name."""
    if fact.status == "quarantined":
        if fact.decision == "barred":
            return not any(history.means(fact, object) for object in stated)
        spelled = (history.slot.subject_label, history.label_of(fact.object) or fact.object)
        return fact.object not in stated or (fact.subject_label, fact.target) != spelled
    return fact.status == "held"


def _is_refused(history: History, fact: Fact) -> bool:
    """Whether a held or quarantined row has a value that a reviewer has rejected, under this name or another."""
    return fact.status in ("held", "quarantined") and history.rejected(fact.object)


def _named(history: History, verdict: Verdict) -> tuple[tuple[Value, ...], FactStatus, datetime | None]:
    """The values to which the verdict gives a status, that status, and its `held_until`."""
    match verdict:
        case Hold(value=Value() as value):
            return (value,), "held", verdict.until
        case Accept():
            return (verdict.value,), "wanted", verdict.recheck
        case Quarantine():
            return _for_reviewer(history, verdict), "quarantined", None
    return (), "superseded", None


def _of_wanted(history: History, verdict: Verdict) -> Move | None:
    """The move of the wanted row, if there is one to move."""
    if history.refused is not None:
        return _move(history.refused, "retracted", _REJECTED)
    match verdict:
        case Accept():
            return _leave(history, "superseded", _SUCCESSOR)
        case Retract():
            return _leave(history, "retracted", verdict.reason)
        case Quarantine(withdraw=True):
            return _withdrawn(history, verdict)
        case Hold():
            return _look_again(history, verdict.until if verdict.value is None else None)
    return _look_again(history, verdict.recheck)


def _withdrawn(history: History, verdict: Quarantine) -> Move | None:
    """The wanted row goes to a reviewer; or, where no source states it any more, to its history."""
    wanted = history.wanted
    if wanted is not None and _is_stale(history, replace(wanted, status="quarantined"), verdict.stated):
        return _move(wanted, "superseded", _GONE)
    return _leave(history, "quarantined", verdict.reason)


def _for_reviewer(history: History, verdict: Quarantine) -> tuple[Value, ...]:
    """Values that need a new row: all except that of the wanted row, which stays or is moved itself."""
    return tuple(
        value
        for value in verdict.values
        if history.wanted is None or not history.spells(history.wanted, value)
    )[:MAX_CANDIDATES]


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
        reason=reason.text,
        reason_code=reason.code,
        source=value.source,
        revision=value.revision,
        statement=value.statement,
        held_until=until,
        priority=value.priority,
    )


def renewed(fact: Fact, reason: Reason) -> NewFact:
    """`fact` as a new row that is wanted from now on; the caller replaces the fields that differ."""
    return fact.offered(status="wanted", reason=reason.text, reason_code=reason.code, since=None)


def _leave(history: History, to: FactStatus, reason: Reason) -> Move | None:
    wanted = history.wanted
    return None if wanted is None else _move(wanted, to, reason)


def _move(fact: Fact, to: FactStatus, reason: Reason) -> Move:
    return Move(fact.id, to, reason.text, expect=fact.status, reason_code=reason.code)


def _look_again(history: History, at: datetime | None) -> Move | None:
    """Keep the wanted row, and judge it again at `at`."""
    wanted: Fact | None = history.wanted
    if wanted is None or wanted.held_until == at:
        return None
    return Move(
        wanted.id,
        "wanted",
        wanted.reason,
        expect="wanted",
        held_until=at,
        reason_code=wanted.reason_code,
    )
