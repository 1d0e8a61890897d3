"""Apply reviewers' decisions to one or many facts, and admit their slots again at once.

A decision, its moves and the resulting verdicts are one transaction.  Decisions need no lease, because
they change what is wanted, never what is live, and the ledger allows one writer at a time.

approve   accept the value despite any doubt; prohibitions still apply
reject    never learn the value, however often a source states it; a wanted fact is retracted
reopen    withdraw the decision; admission judges the value as if it were new
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from editing.folding import fold
from kbsync import approvals, reasons
from kbsync.admission.codes import JUDGED, UNAPPROVABLE
from kbsync.approvals import About, Approvals
from kbsync.errors import Changed, NoSuchFact, UsageError
from kbsync.intake.admit import Admission
from kbsync.intake.pull import PAGE, Intake
from state.ledger import State, Transaction
from state.records import Fact, FactStatus, Move
from state.transaction import chunks

Word = Literal["approve", "reject", "reopen"]
OPEN: frozenset[FactStatus] = frozenset({"held", "quarantined", "wanted"})


@dataclass(frozen=True, slots=True)
class Change:
    """One fact that a decision changes: the decided fact, or another fact of its slot or prompt."""

    before: FactStatus | None
    """None: the row is new, for example because the value's label has changed."""
    after: Fact


@dataclass(frozen=True, slots=True)
class Refusal:
    """A fact to which the decision cannot be applied."""

    fact: Fact
    why: str
    advice: str


@dataclass(frozen=True, slots=True)
class Seconded:
    """A fact that was approved, but not yet by enough people: nothing has happened to it."""

    fact: Fact
    approvals: Approvals


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision did, or would do."""

    changes: tuple[Change, ...] = ()
    unchanged: tuple[Fact, ...] = ()
    """Decided facts whose status does not change yet: no source states the value, or something else holds it."""
    seconded: tuple[Seconded, ...] = ()
    """Facts that somebody else has to approve as well."""
    refused: tuple[Refusal, ...] = ()
    rehearsed: bool = False
    """Whether this was a rehearsal, which writes nothing."""


def approve(intake: Intake, fact_id: int, reason: str, actor: str) -> Outcome:
    """Approve one value.

    Only a held or quarantined fact can be approved.  Raises UsageError for any other fact, for a refusal
    that no approval overrides (the setting or the label behind it has to change first), and where another
    answer to the same prompt is already approved.
    """
    return decide(intake, "approve", [fact_id], reason, actor)


def reject(intake: Intake, fact_id: int, reason: str, actor: str) -> Outcome:
    """Reject one value; raises UsageError for a fact that is already superseded or retracted."""
    return decide(intake, "reject", [fact_id], reason, actor)


def reopen(intake: Intake, fact_id: int, reason: str, actor: str) -> Outcome:
    """Withdraw the decision about one value; raises UsageError where there is none."""
    return decide(intake, "reopen", [fact_id], reason, actor)


def decide(
    intake: Intake,
    word: Word,
    ids: Iterable[int] | Mapping[int, str],
    reason: str,
    actor: str,
    *,
    rehearse: bool = False,
    named: bool = True,
) -> Outcome:
    """Apply the decision `word` to the facts `ids`.

    With `rehearse` the transaction is rolled back, and the outcome says what would happen.  With `named`
    (a person named each fact), a fact to which the decision cannot be applied raises UsageError and nothing
    is written; otherwise such a fact is skipped and listed in `refused`.  Raises NoSuchFact for an unknown id.

    If `ids` also gives each fact's `version`, as the reviewer saw it, a fact that has another one by now raises
    Changed, and nothing is written.
    """
    chosen = list(dict.fromkeys(ids))
    changes: dict[int, Change] = {}
    unchanged: list[Fact] = []
    refused: list[Refusal] = []
    seconded: list[Seconded] = []
    pages = [chosen] if rehearse or named else chunks(chosen, PAGE)
    for page in pages:
        with _transaction(intake.state, rehearse) as tx:
            facts, reason = _facts(tx, page), reasons.checked(reason)
            if isinstance(ids, Mapping):
                _as_seen(facts, ids)
            barriers = _barriers(tx, word, facts)
            if word == "approve" and intake.approvals > 1:
                barriers = barriers + _approved_before(tx, intake.approvals, facts, actor)
            if named and barriers:
                raise UsageError(barriers[0].why, barriers[0].advice)
            refused += barriers
            barred = {barrier.fact.id for barrier in barriers}
            taken = [fact for fact in facts if fact.id not in barred]
            if word == "approve" and intake.approvals > 1:
                some = _approved(tx, intake.approvals, taken, reason, actor)
                seconded += [one for one in some if one.approvals.missing]
                taken = [one.fact for one in some if not one.approvals.missing]
            for change in _carry_out(tx, intake, word, taken, reason, actor):
                changes[change.after.id] = change
            unchanged += [tx.fact(fact.id) for fact in taken if fact.id not in changes]
        intake.alive()
    ordered = tuple(changes[id] for id in sorted(changes))
    return Outcome(ordered, tuple(unchanged), tuple(seconded), tuple(refused), rehearse)


class _Rehearsed(Exception):
    """Rolls the transaction of a rehearsal back."""


@contextmanager
def _transaction(state: State, rehearse: bool) -> Iterator[Transaction]:
    try:
        with state.write() as tx:
            yield tx
            if rehearse:
                raise _Rehearsed
    except _Rehearsed:
        return


def _facts(tx: Transaction, ids: Sequence[int]) -> tuple[Fact, ...]:
    found = tx.facts(ids=ids)
    if missing := sorted(set(ids) - {fact.id for fact in found}):
        raise NoSuchFact(missing[0])
    return found


def _as_seen(facts: Iterable[Fact], versions: Mapping[int, str]) -> None:
    for fact in facts:
        if fact.version != versions[fact.id]:
            decided = f", {fact.decision} at {fact.decided:%Y-%m-%d %H:%M:%S} UTC" if fact.decided else ""
            raise Changed(
                f"fact {fact.id} ({fact.subject_label}: {fact.target}) has changed since it was shown: it is "
                f"{fact.status}{decided} now ({fact.reason_code}: {fact.reason})",
                "look at it again and decide again",
            )


def _approved_before(tx: Transaction, needed: int, facts: Iterable[Fact], actor: str) -> list[Refusal]:
    """Facts to which this person has given their approval already, while others' are missing."""
    found = ((fact, approvals.repeated(tx, of_fact(fact), needed, actor)) for fact in facts)
    return [Refusal(fact, str(error), error.advice or "") for fact, error in found if error is not None]


def _approved(tx: Transaction, needed: int, facts: Iterable[Fact], reason: str, actor: str) -> list[Seconded]:
    """Give one person's approval of each fact."""
    return [Seconded(fact, approvals.approve(tx, of_fact(fact), needed, reason, actor)) for fact in facts]


def of_fact(fact: Fact) -> About:
    """A value in the state in which it was seen: an approval of it does not outlive what happens to it."""
    return About(f"fact {fact.id} {fact.version}", fact=fact.id)


def _carry_out(
    tx: Transaction, intake: Intake, word: Word, facts: Sequence[Fact], reason: str, actor: str
) -> list[Change]:
    """Record the decision, move the facts, admit their slots; return the facts whose status changed."""
    head = tx.head()
    pairs = sorted({(fact.subject, fact.relation) for fact in facts})
    admission = intake.admission()
    ids = [fact.id for fact in facts]
    if word == "approve":
        tx.decide_facts(ids, "approved", reason, actor)
    elif word == "reject":
        tx.decide_facts(ids, "rejected", reason, actor)
        leaving = [Move(f.id, "retracted", reason, f.status, reason_code="rejected") for f in facts]
        tx.move_facts(leaving, actor)
    else:
        _take_back(tx, admission, facts, reason, actor)
    admission.admit(tx, pairs, intake.clock())
    return _changes(tx, 0 if head is None else head.seq)


def _take_back(tx: Transaction, admission: Admission, facts: Sequence[Fact], reason: str, actor: str) -> None:
    """Withdraw every decision about the values of `facts`, whichever name it was made under.

    A fact that is wanted only because it was approved returns to the reviewer, unless admission accepts it
    without the approval.  The probes of a fact that a gate quarantined are fetched again, because one of
    them may have been wrong.
    """
    histories = admission.histories(
        tx, tx.slots({(fact.subject, fact.relation) for fact in facts}), bootstrap=False
    )
    decided: dict[int, Fact] = {}
    for fact in facts:
        history = histories[fact.subject, fact.relation]
        same = [row for row in history.facts if history.means(row, fact.object)]
        decided |= {row.id: row for row in same if row.decision is not None}
        decided.setdefault(fact.id, fact)
    tx.decide_facts(sorted(decided), None, reason, actor)
    back = [
        Move(row.id, "quarantined", reason, row.status, reason_code="reopened")
        for row in decided.values()
        if row.status == "quarantined" or (row.status == "wanted" and row.decision == "approved")
    ]
    tx.move_facts(back, actor)
    for row in decided.values():
        if row.decision == "barred":
            tx.put_probes(row.id, ())


def _changes(tx: Transaction, after: int) -> list[Change]:
    """Every fact whose status has changed since the event `after`, with its earlier status."""
    before: dict[int, FactStatus | None] = {}
    for event in tx.events(after=after, kind="fact.*"):
        body = json.loads(event.body)
        if event.fact is not None and "to" in body:
            before.setdefault(event.fact, body["from"])
    now = tx.facts(ids=before)
    return [Change(before[fact.id], fact) for fact in now if before[fact.id] != fact.status]


# Facts to which a decision cannot be applied


def _barriers(tx: Transaction, word: Word, facts: Sequence[Fact]) -> list[Refusal]:
    check: Mapping[Word, Callable[[Fact], Refusal | None]] = {
        "approve": _not_to_approve,
        "reject": _not_to_reject,
        "reopen": _not_to_reopen,
    }
    refusals = [refusal for fact in facts if (refusal := check[word](fact)) is not None]
    if word != "approve":
        return refusals
    refused = {refusal.fact.id for refusal in refusals}
    return refusals + _contradictions(tx, [fact for fact in facts if fact.id not in refused])


def _not_to_approve(fact: Fact) -> Refusal | None:
    if fact.status not in ("held", "quarantined"):
        return Refusal(
            fact,
            f"fact {fact.id} is {fact.status}: only a held or quarantined fact can be approved",
            "`kbsync quarantine` lists those that wait for a reviewer",
        )
    if fact.reason_code in UNAPPROVABLE:
        return Refusal(
            fact,
            f"fact {fact.id} cannot be approved ({fact.reason_code}): {fact.reason}",
            "change the setting or the label behind this reason first, see docs/admission.md",
        )
    return None


def _not_to_reject(fact: Fact) -> Refusal | None:
    if fact.status in OPEN:
        return None
    return Refusal(fact, f"fact {fact.id} is {fact.status} already", "there is nothing to reject")


def _not_to_reopen(fact: Fact) -> Refusal | None:
    by_hand = fact.status == "quarantined" and fact.reason_code not in JUDGED
    if fact.decision is not None or by_hand:
        return None
    return Refusal(
        fact,
        f"nothing was decided about fact {fact.id}: it is {fact.status} ({fact.reason_code}: {fact.reason})",
        "approve or reject it; only a decision can be taken back",
    )


def _contradictions(tx: Transaction, facts: Sequence[Fact]) -> list[Refusal]:
    """Facts that would give a slot, or a prompt, a second approved answer.

    If such facts are to be approved at once, all of them are refused.
    """
    ids = {fact.id for fact in facts}
    slots = tx.facts_of((fact.subject, fact.relation) for fact in facts)
    prompts = tx.wanted_with_prompt_keys(fact.prompt_key for fact in facts)
    by_prompt: dict[str, list[Fact]] = {}
    for fact in facts:
        by_prompt.setdefault(fact.prompt_key, []).append(fact)
    refusals = []
    for fact in facts:
        rivals = (
            *slots.get((fact.subject, fact.relation), ()),
            *prompts.get(fact.prompt_key, ()),
            *by_prompt[fact.prompt_key],
        )
        for other in rivals:
            is_in = other.id in ids or (other.decision == "approved" and other.status in OPEN)
            if is_in and fold(other.target) != fold(fact.target):
                refusals.append(_second_answer(fact, other))
                break
    return refusals


def _second_answer(fact: Fact, other: Fact) -> Refusal:
    return Refusal(
        fact,
        f"fact {fact.id} says {fact.target}, but fact {other.id} of {other.subject} with the same prompt "
        f"is approved and says {other.target}",
        f"one prompt has one answer: reject fact {other.id} first",
    )
