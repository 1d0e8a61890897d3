"""Whether what the sources say becomes what is wanted: a pure function of policy, history, rivals and now.

`judge` weighs a slot by itself: deny-lists, which source speaks, how many values, change of meaning,
labels, flips, references, settling.  `admit` then sets it beside its rivals, the other slots that make
the same prompt, and holds the no-conflict constraint (Eqn. 5 of the MEMIT paper, on the rendered
prompt).  A rival enters as the `Claim` that it makes by itself, so both sides of a conflict come to the
same conclusion, whichever was there first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from editing.folding import fold
from kbsync.admission.fusion import Choice, Spoken, choose, same_meaning
from kbsync.admission.history import History
from kbsync.admission.policy import Policy, Rules
from kbsync.admission.verdicts import (
    CODES,
    JUDGED,
    UNAPPROVABLE,
    Accept,
    Hold,
    Quarantine,
    Reason,
    Retract,
    Unchanged,
    Value,
    Verdict,
)
from kbsync.catalogue import labels


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


def admit(policy: Policy, history: History, rivals: Sequence[Claim], now: datetime) -> Verdict:
    """The verdict on one slot.  `rivals`: claims of the other slots that share its prompt key."""
    return beside(judge(policy, history, now), history, rivals)


def judge(policy: Policy, history: History, now: datetime) -> Verdict:
    """The verdict on a slot as if no other made the same prompt."""
    if history.forgotten and not history.observations and history.wanted is not None:
        return Retract(_because("forgotten", f"{history.wanted.object} of {history.wanted.source}"))
    if not history.relation.enabled:
        return Unchanged(_because("disabled", history.slot.relation))
    if not history.observations:
        return Unchanged(_because("unread", history.slot.subject))
    choice = choose(policy, history, now)
    return replace(_weigh(policy, history, choice, now), stated=choice.stated)


def _weigh(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    if verdict := _forbidden(policy, history, choice):
        return verdict
    if choice.clash is not None:
        return _clash(policy, history, choice, now)
    if choice.spoken is None:
        return _silence(policy, history, choice, now)
    return _spoken(history, choice, choice.spoken, now)


def is_living(history: History) -> bool:
    """Whether the subject counts as a living person.

    A human not known to be dead does; so does one of whom nothing is known, if the relation is one of
    humans.
    """
    living = history.entity(history.slot.subject).living
    return history.relation.subject_type == "human" if living is None else living


def _forbidden(policy: Policy, history: History, choice: Choice) -> Verdict | None:
    """Deny-lists, and living persons where they are off: no approval lifts these."""
    if not choice.values and history.wanted is None:
        return None
    slot = history.slot
    if slot.subject in policy.deny_subjects:
        return Quarantine(_because("denied", slot.subject), choice.values, withdraw=True)
    if slot.relation in policy.deny_relations:
        return Quarantine(_because("denied", slot.relation), choice.values, withdraw=True)
    stated = {choice.spoken.value.object} if choice.spoken else {value.object for value in choice.values}
    denied = sorted(object for object in stated if history.denied(object, policy.deny_objects))
    wanted = history.wanted is not None and history.denied(history.wanted.object, policy.deny_objects)
    if denied:
        return Quarantine(_because("denied", denied[0]), choice.values, withdraw=bool(wanted))
    if _rules(policy, history, choice).living == "off" and is_living(history):
        return Quarantine(_because("living_off", slot.subject), choice.values, withdraw=True)
    return None


def _clash(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    """Values are stated, and none of them is the one."""
    objects = [value.object for value in choice.values]
    if choice.clash == "rejected":
        return Unchanged(_because("rejected", history.slot.subject), choice.recheck)
    if choice.clash == "sources":
        return _disagreement(choice, now)
    if history.relation.single_valued:
        return Quarantine(
            _because("several_values", ", ".join(objects)), choice.values, recheck=choice.recheck
        )
    if history.wanted is None or history.wanted.object in objects:
        return Unchanged(_because("several_normal", ", ".join(objects)), choice.recheck)
    return _retracted(_because("ambiguous", ", ".join(objects)), _rules(policy, history, choice), choice, now)


def _disagreement(choice: Choice, now: datetime) -> Verdict:
    """Sources of one priority differ: while one of the values is fresh, what is wanted stands; once all
    have settled, both sides are doubted, whichever came first."""
    why = _because(
        "sources_disagree", ", ".join(f"{value.source}: {value.object}" for value in choice.values)
    )
    if choice.settles <= now:
        return Quarantine(why, choice.values, withdraw=True, recheck=choice.recheck)
    recheck = min(filter(None, (choice.settles, choice.recheck)))
    return Quarantine(why, choice.values, recheck=recheck)


def _silence(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    """No source states a value: what is wanted is retracted once that has stood long enough."""
    if choice.upcoming is not None:
        value, begins = choice.upcoming
        waiting = _at_reviewer(history, value)
        return waiting or Hold(begins, _because("future", f"{value.object} on {begins:%Y-%m-%d}"), value)
    if history.wanted is None:
        return Unchanged(_because("nothing", history.slot.subject), choice.recheck)
    rules = _rules(policy, history, choice)
    gone = f"{history.wanted.object} of {history.wanted.source}"
    if rules.ended == "keep":
        return Unchanged(_because("kept", gone), choice.recheck)
    return _retracted(_because(choice.absence, gone), rules, choice, now)


def _retracted(why: Reason, rules: Rules, choice: Choice, now: datetime) -> Verdict:
    until = choice.since + rules.settle_ended
    return Retract(why) if until <= now else Hold(until, _because("settling_end", why.text), None)


def _spoken(history: History, choice: Choice, spoken: Spoken, now: datetime) -> Verdict:
    """Exactly one value is stated."""
    value, wanted = spoken.value, history.wanted
    relabelled = wanted is not None and wanted.object == value.object
    if wanted is not None and relabelled and _spelled_alike(history, value):
        return Unchanged(_because("same", value.object), choice.recheck)
    if verdict := _at_reviewer(history, value):
        return verdict
    if wanted is not None and not relabelled:
        before, after = history.entity(wanted.object), history.entity(value.object)
        if same_meaning(spoken.rules.same_meaning, before, after):
            return Unchanged(_because("same_meaning", f"{before.id} and {after.id}"), choice.recheck)
    doubt = _doubt(history, spoken)
    if doubt is not None and not (history.approved(value) and doubt.code not in UNAPPROVABLE):
        return Quarantine(doubt, (value,), recheck=choice.recheck)
    if relabelled:
        return _relabelled(history, spoken, choice, now)
    return _settled(history, spoken, choice, now)


def _at_reviewer(history: History, value: Value) -> Verdict | None:
    """A value that was put out (by a gate, a rollback, the breaker) is not let in again by itself.

    A barred value stays barred under another name or spelling, and after it was away for a while.
    """
    row = history.row(value)
    if history.barred(value.object):
        why = _because("barred", value.object)
        shown = any(f.status == "quarantined" and history.means(f, value.object) for f in history.facts)
        return Unchanged(why) if shown else Quarantine(why, (value,))
    if row is None or row.status != "quarantined" or history.approved(value) or row.reason_code in JUDGED:
        return None
    if row.reason_code == "volume":
        return Unchanged(_because("breaker_open", value.object))
    return Unchanged(_because("barred", f"{value.object}: {row.reason}"))


def _doubt(history: History, spoken: Spoken) -> Reason | None:
    """The first thing that speaks against a value."""
    value, rules = spoken.value, spoken.rules
    for identifier in (history.slot.subject, value.object):
        if flaw := _label_flaw(identifier, history.label_of(identifier), rules):
            return flaw
    if rules.living == "review" and is_living(history):
        return _because("living_review", history.slot.subject)
    if spoken.references < rules.min_references:
        return _because("unreferenced", f"{value.object}: {spoken.references} of {rules.min_references}")
    if spoken.flips > rules.max_flips:
        return _because("flips", f"{spoken.flips} returns within {rules.flip_window.days} days")
    return None


def _label_flaw(identifier: str, label: str | None, rules: Rules) -> Reason | None:
    if label is None:
        return _because("label_missing", identifier)
    flaw = labels.flaw(label, rules.label_max, rules.label_scripts)
    if flaw is None:
        return None
    code, text = flaw
    return Reason(code, f"the label of {identifier} {text}")


def _relabelled(history: History, spoken: Spoken, choice: Choice, now: datetime) -> Verdict:
    """What is wanted is called otherwise now: spelled anew once the new label has stood.

    Labels have no date at the source; the clock starts with the row that is held for the new spelling.
    """
    row = history.row(spoken.value)
    started = row is not None and row.status == "held" and row.held_until is not None
    until = row.held_until if row and started else now + spoken.rules.settle_label
    if until is None or until <= now or history.approved(spoken.value):
        return Accept(spoken.value, _because("relabelled", spoken.value.target), choice.recheck)
    return Hold(until, _because("settling_label", spoken.value.target), spoken.value)


def _settled(history: History, spoken: Spoken, choice: Choice, now: datetime) -> Verdict:
    value = spoken.value
    row = history.row(value)
    if row is not None and history.approved(value) and row.status in ("held", "quarantined"):
        return Accept(value, _because("approved", value.object), choice.recheck)
    if spoken.settles > now:
        told = f"{value.object} stands since {spoken.since:%Y-%m-%d %H:%M} UTC"
        return Hold(spoken.settles, _because("settling", told), value)
    return Accept(value, _because("settled", value.object), choice.recheck)


def beside(verdict: Verdict, history: History, rivals: Sequence[Claim]) -> Verdict:
    """`verdict` among the slots that make the same prompt (Eqn. 5 on the rendered prompt)."""
    if not rivals:
        return verdict
    own = claim(verdict, history)
    for rival in sorted(rivals, key=lambda claim: (claim.subject, claim.relation)):
        if not own.agrees(rival) and (rival.approved or not own.approved):
            told = f"{rival.subject} {rival.relation} says {', '.join(sorted(rival.targets))}"
            return Quarantine(
                _because("homonym", told), _values(verdict), withdraw=True, stated=verdict.stated
            )
    if isinstance(verdict, Accept):
        waits = [r.until for r in rivals if r.until is not None and r.wanted not in (None, *own.targets)]
        if waits:  # a rival still wants its old object: both change over together
            return Hold(
                max(waits), _because("settling", "together with the slots of one prompt"), verdict.value
            )
    return verdict


def claim(verdict: Verdict, history: History) -> Claim:
    """What a slot with this verdict tells its rivals; what no approval could let in is no rival."""
    wanted = fold(history.wanted.target) if history.wanted else None
    values = frozenset(fold(value.target) for value in _values(verdict))
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
        approved=any(history.approved(value) for value in _values(verdict))
        or (history.wanted is not None and history.wanted.decision == "approved"),
    )


def _values(verdict: Verdict) -> tuple[Value, ...]:
    if isinstance(verdict, Quarantine):
        return verdict.values
    if isinstance(verdict, Accept):
        return (verdict.value,)
    return (verdict.value,) if isinstance(verdict, Hold) and verdict.value is not None else ()


def _spelled_alike(history: History, value: Value) -> bool:
    """Whether what is wanted is spelled as the labels are now, but for case and spacing."""
    wanted = history.wanted
    return wanted is not None and (
        fold(wanted.target) == fold(value.target)
        and fold(wanted.subject_label) == fold(history.slot.subject_label)
    )


def _rules(policy: Policy, history: History, choice: Choice) -> Rules:
    """Of the source that speaks; in silence, of the one that stated what is wanted."""
    sources = [value.source for value in choice.values]
    if history.wanted is not None:
        sources.append(history.wanted.source)
    return policy.rules(sources[0] if sources else "", history.slot.relation)


def _because(code: str, what: str) -> Reason:
    return Reason(code, f"{CODES[code]} ({what})")
