"""Decide whether a stated value becomes wanted: a pure function of policy, history, rivals and time.

`admit` is the whole rule.  `judge` considers a slot on its own: deny-lists, which source decides, how many
values there are, change of meaning, doubts about the value (`doubts.py`), settling.  The verdict is then
compared with its rivals, the other slots that render to the same prompt (`rivals.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from editing.folding import fold
from kbsync.admission.codes import JUDGED, UNAPPROVABLE, because
from kbsync.admission.doubts import doubt, is_living
from kbsync.admission.fusion import Choice, Offer, choose_value, same_meaning
from kbsync.admission.history import History
from kbsync.admission.policy import Policy, Rules
from kbsync.admission.rivals import Claim, check_rivals, claim_of
from kbsync.admission.verdicts import (
    Accept,
    Hold,
    Quarantine,
    Reason,
    Retract,
    Unchanged,
    Value,
    Verdict,
    in_words,
)


def admit(policy: Policy, history: History, rivals: Sequence[Claim], now: datetime) -> Verdict:
    """The verdict on one slot.  `rivals`: claims of the other slots that render to the same prompt."""
    return check_rivals(judge(policy, history, now), history, rivals)


def claim(policy: Policy, history: History, now: datetime) -> Claim:
    """The claim of a slot on its own, for the `admit` of its rivals."""
    return claim_of(judge(policy, history, now), history)


def judge(policy: Policy, history: History, now: datetime) -> Verdict:
    """The verdict on a slot, without regard to its rivals."""
    if history.forgotten and not history.observations and history.wanted is not None:
        return Retract(because("forgotten", f"{in_words(history.wanted.object)} of {history.wanted.source}"))
    if not history.relation.enabled:
        return Unchanged(because("disabled", history.slot.relation))
    if not history.observations:
        return Unchanged(because("unread", history.slot.subject))
    choice = choose_value(policy, history, now)
    return replace(_weigh(policy, history, choice, now), stated=choice.stated)


def _weigh(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    if verdict := _forbidden(policy, history, choice):
        return verdict
    if choice.clash is not None:
        return _clash(policy, history, choice, now)
    if choice.offer is None:
        return _without_value(policy, history, choice, now)
    return _with_value(history, choice, choice.offer, now)


def _forbidden(policy: Policy, history: History, choice: Choice) -> Verdict | None:
    """Quarantine what the deny-lists or `living = "off"` forbid; no approval overrides these."""
    if not choice.values and history.wanted is None:
        return None
    slot = history.slot
    if slot.subject in policy.deny_subjects or slot.subject in history.deny.subjects:
        of = history.deny.subjects.get(slot.subject, slot.subject)
        return Quarantine(because("denied", of), choice.values, withdraw=True)
    if slot.relation in policy.deny_relations:
        return Quarantine(because("denied", slot.relation), choice.values, withdraw=True)
    stated = {choice.offer.value.object} if choice.offer else {value.object for value in choice.values}
    denied = sorted(object for object in stated if history.denied(object, policy.deny_objects))
    wanted = history.wanted is not None and history.denied(history.wanted.object, policy.deny_objects)
    if denied:
        return Quarantine(because("denied", denied[0]), choice.values, withdraw=bool(wanted))
    if _rules(policy, history, choice).living == "off" and is_living(history):
        return Quarantine(because("living_off", slot.subject), choice.values, withdraw=True)
    return None


def _clash(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    """The verdict where values are stated but none is chosen."""
    objects = [value.object for value in choice.values]
    if choice.clash == "rejected":
        return Unchanged(because("rejected", history.slot.subject), choice.recheck)
    if choice.clash == "sources":
        return _disagreement(choice, now)
    if history.relation.single_valued:
        return Quarantine(
            because("several_values", ", ".join(objects)), choice.values, recheck=choice.recheck
        )
    if history.wanted is None or history.wanted.object in objects:
        return Unchanged(because("several_normal", ", ".join(objects)), choice.recheck)
    return _retracted(because("ambiguous", ", ".join(objects)), _rules(policy, history, choice), choice, now)


def _disagreement(choice: Choice, now: datetime) -> Verdict:
    """Sources of one priority disagree: the wanted fact stays until all values have settled; then both
    sides are quarantined, whichever came first."""
    why = because(
        "sources_disagree", ", ".join(f"{value.source}: {in_words(value.object)}" for value in choice.values)
    )
    if choice.settles <= now:
        return Quarantine(why, choice.values, withdraw=True, recheck=choice.recheck)
    recheck = min(filter(None, (choice.settles, choice.recheck)))
    return Quarantine(why, choice.values, recheck=recheck)


def _without_value(policy: Policy, history: History, choice: Choice, now: datetime) -> Verdict:
    """No source states a current value: the wanted fact is retracted after `settle_ended`."""
    if choice.upcoming is not None:
        value, begins = choice.upcoming
        waiting = _kept_out(history, value)
        return waiting or Hold(
            begins, because("future", f"{in_words(value.object)} on {begins:%Y-%m-%d}"), value
        )
    if history.wanted is None:
        return Unchanged(because("nothing", history.slot.subject), choice.recheck)
    rules = _rules(policy, history, choice)
    gone = f"{in_words(history.wanted.object)} of {history.wanted.source}"
    if rules.ended == "keep":
        return Unchanged(because("kept", gone), choice.recheck)
    return _retracted(because(choice.absence, gone), rules, choice, now)


def _retracted(why: Reason, rules: Rules, choice: Choice, now: datetime) -> Verdict:
    until = choice.since + rules.settle_ended
    return Retract(why) if until <= now else Hold(until, because("settling_end", why.text), None)


def _with_value(history: History, choice: Choice, offer: Offer, now: datetime) -> Verdict:
    """The verdict where one value is chosen."""
    value, wanted = offer.value, history.wanted
    relabelled = wanted is not None and wanted.object == value.object
    if wanted is not None and relabelled and _spelled_alike(history, value):
        return Unchanged(because("same", in_words(value.object)), choice.recheck)
    if verdict := _kept_out(history, value):
        return verdict
    if wanted is not None and not relabelled:
        before, after = history.entity(wanted.object), history.entity(value.object)
        if same_meaning(offer.rules.same_meaning, before, after):
            return Unchanged(because("same_meaning", f"{before.id} and {after.id}"), choice.recheck)
    doubted = doubt(history, offer)
    if doubted is not None and not (history.approved(value) and doubted.code not in UNAPPROVABLE):
        return Quarantine(doubted, (value,), recheck=choice.recheck)
    if relabelled:
        return _relabelled(history, offer, choice, now)
    return _settled(history, offer, choice, now)


def _kept_out(history: History, value: Value) -> Verdict | None:
    """Do not accept a value again by itself that a gate, a rollback or the volume breaker has quarantined.

    A barred value stays barred under another name or spelling, and after a time in which no source stated it.
    """
    row = history.waiting(value)
    if history.barred(value.object):
        why = because("barred", in_words(value.object))
        shown = any(f.status == "quarantined" and history.means(f, value.object) for f in history.facts)
        return Unchanged(why) if shown else Quarantine(why, (value,))
    if row is None or row.status != "quarantined" or history.approved(value) or row.reason_code in JUDGED:
        return None
    if row.reason_code == "volume":
        return None if history.bootstrap else Unchanged(because("breaker_open", in_words(value.object)))
    return Unchanged(because("barred", f"{in_words(value.object)}: {row.reason}"))


def _relabelled(history: History, offer: Offer, choice: Choice, now: datetime) -> Verdict:
    """A label of the fact changed: the fact is edited again once the new label has settled.

    Sources do not date labels, so settling starts when a row with the new label is first held.
    """
    row = history.waiting(offer.value)
    started = row is not None and row.status == "held" and row.held_until is not None
    until = row.held_until if row and started else now + offer.rules.settle_label
    if until is None or until <= now or history.approved(offer.value):
        return Accept(offer.value, because("relabelled", offer.value.target), choice.recheck)
    return Hold(until, because("settling_label", offer.value.target), offer.value)


def _settled(history: History, offer: Offer, choice: Choice, now: datetime) -> Verdict:
    value = offer.value
    if history.approved(value) and history.waiting(value) is not None:
        return Accept(value, because("approved", in_words(value.object)), choice.recheck)
    if offer.settles > now:
        told = f"{in_words(value.object)} has been unchanged since {offer.since:%Y-%m-%d %H:%M} UTC"
        return Hold(offer.settles, because("settling", told), value)
    return Accept(value, because("settled", in_words(value.object)), choice.recheck)


def _spelled_alike(history: History, value: Value) -> bool:
    """Whether the wanted fact has the current labels, apart from what folding ignores."""
    wanted = history.wanted
    return wanted is not None and (
        fold(wanted.target) == fold(value.target)
        and fold(wanted.subject_label) == fold(history.slot.subject_label)
    )


def _rules(policy: Policy, history: History, choice: Choice) -> Rules:
    """The rules of the deciding source; if there is none, of the source of the wanted fact."""
    sources = [value.source for value in choice.values]
    if history.wanted is not None:
        sources.append(history.wanted.source)
    return policy.rules(sources[0] if sources else "", history.slot.relation)
