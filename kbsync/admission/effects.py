"""What a verdict does to the ledger's rows of one slot: a pure function from both to moves and new rows.

Rules that every verdict shares: a held row that is not the one being waited for is superseded; a
quarantined row stays for its reviewer only as long as some source states its object; a wanted row
carries, as `held_until`, the instant at which time alone may change the verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
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
"""Values of one slot put before a reviewer; a slot that states more is a mistake as a whole."""

_GONE = Reason("gone", CODES["gone"])
_SUCCESSOR = Reason("successor", CODES["successor"])
_RESPELLED = Reason("respelled", CODES["respelled"])
_REJECTED = Reason("rejected", CODES["rejected"])


@dataclass(frozen=True, slots=True)
class Consequences:
    """Moves come first: the slot's old object leaves before the new one enters."""

    moves: tuple[Move, ...] = ()
    puts: tuple[NewFact, ...] = ()


def consequences(history: History, verdict: Verdict) -> Consequences:
    """The rows to write; none if the ledger already is as the verdict says."""
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
    """Whether a waiting row waits for nothing: it is not what is held now, or what a reviewer would decide
    on is no longer stated, or is spelled otherwise by now.

    A value that is barred waits under whatever name it is stated."""
    if fact.status == "quarantined":
        if fact.decision == "barred":
            return not any(history.means(fact, object) for object in stated)
        spelled = (history.slot.subject_label, history.label_of(fact.object) or fact.object)
        return fact.object not in stated or (fact.subject_label, fact.target) != spelled
    return fact.status == "held"


def _is_refused(history: History, fact: Fact) -> bool:
    """Whether a row waits with a value that a reviewer has rejected, under this name or another."""
    return fact.status in ("held", "quarantined") and history.rejected(fact.object)


def _named(history: History, verdict: Verdict) -> tuple[tuple[Value, ...], FactStatus, datetime | None]:
    """The values that the verdict gives a status, that status, and until when."""
    match verdict:
        case Hold(value=Value() as value):
            return (value,), "held", verdict.until
        case Accept():
            return (verdict.value,), "wanted", verdict.recheck
        case Quarantine():
            return _for_reviewer(history, verdict), "quarantined", None
    return (), "superseded", None


def _of_wanted(history: History, verdict: Verdict) -> Move | None:
    """What becomes of the wanted row, if there is one."""
    if history.refused is not None:
        return _move(history.refused, "retracted", _REJECTED)
    match verdict:
        case Accept():
            return _leave(history, "superseded", _SUCCESSOR)
        case Retract():
            return _leave(history, "retracted", verdict.reason)
        case Quarantine(withdraw=True):
            return _leave(history, "quarantined", verdict.reason)
        case Hold():
            return _look_again(history, verdict.until if verdict.value is None else None)
    return _look_again(history, verdict.recheck)


def _for_reviewer(history: History, verdict: Quarantine) -> tuple[Value, ...]:
    """Values that need a row of their own: not what stays wanted, nor what is moved there anyway."""
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
    """`fact` as a new row that is wanted from now on; the caller replaces what is to differ."""
    return fact.offered(status="wanted", reason=reason.text, reason_code=reason.code, since=None)


def _leave(history: History, to: FactStatus, reason: Reason) -> Move | None:
    wanted = history.wanted
    return None if wanted is None else _move(wanted, to, reason)


def _move(fact: Fact, to: FactStatus, reason: Reason) -> Move:
    return Move(fact.id, to, reason.text, expect=fact.status, reason_code=reason.code)


def _look_again(history: History, at: datetime | None) -> Move | None:
    """Keep what is wanted and look at it again at `at`."""
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
