"""What can speak against one value by itself: each rule is a declaration, and adding one is adding it here.

A rule has a code for machines, a sentence for people, the setting behind it (a field of `Rules` in
`policy.py`), and a pure function that says what is wrong, or None.  The first rule that finds something
puts the value into quarantine.  `docs/admission.md` lists them, made from `RULES`; how to add one is
described in `docs/howto/add-a-rule.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kbsync.admission.fusion import Offer
from kbsync.admission.history import History
from kbsync.admission.verdicts import Reason
from kbsync.catalogue import labels

Finding = Callable[[History, Offer], str | None]
"""What is wrong with the offer, in a few words; None: nothing that this rule knows of."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to doubt a value."""

    code: str
    text: str
    """The sentence of the reason; what was found follows in parentheses."""
    find: Finding
    settings: tuple[str, ...] = ()
    """The fields of `Rules` that it obeys."""
    approvable: bool = True
    """Whether a reviewer can let the value in all the same."""


def is_living(history: History) -> bool:
    """Whether the subject counts as a living person.

    A human not known to be dead does; so does one of whom nothing is known, if the relation is one of
    humans.
    """
    living = history.entity(history.slot.subject).living
    return history.relation.subject_type == "human" if living is None else living


def _without_label(history: History, offer: Offer) -> str | None:
    missing = [name for name in _names(history, offer) if history.label_of(name) is None]
    return missing[0] if missing else None


def _with_flaw(code: str, history: History, offer: Offer) -> str | None:
    rules = offer.rules
    for name in _names(history, offer):
        label = history.label_of(name)
        found = label and labels.flaw(label, rules.label_max, rules.label_scripts, history.special_tokens)
        if found and found[0] == code:
            return f"that of {name} {found[1]}"
    return None


def _alive(history: History, offer: Offer) -> str | None:
    return history.slot.subject if offer.rules.living == "review" and is_living(history) else None


def _unreferenced(history: History, offer: Offer) -> str | None:
    least = offer.rules.min_references
    return f"{offer.value.object}: {offer.references} of {least}" if offer.references < least else None


def _restless(history: History, offer: Offer) -> str | None:
    rules = offer.rules
    if offer.flips <= rules.max_flips:
        return None
    return f"{offer.flips} returns within {rules.flip_window.days} days"


RULES: tuple[Rule, ...] = (
    Rule("label_missing", "the subject or the object has no label", _without_label, approvable=False),
    *(
        Rule(flaw.code, flaw.text, partial(_with_flaw, flaw.code), flaw.settings, flaw.approvable)
        for flaw in labels.FLAWS
    ),
    Rule("living_review", "facts about living persons need approval", _alive, ("living",)),
    Rule("unreferenced", "the value has too few references", _unreferenced, ("min_references",)),
    Rule("flips", "the value went back and forth too often", _restless, ("max_flips", "flip_window")),
)
"""In the order in which they are asked."""


def doubt(history: History, offer: Offer) -> Reason | None:
    """The first thing that speaks against a value."""
    for rule in RULES:
        if (found := rule.find(history, offer)) is not None:
            return Reason(rule.code, f"{rule.text} ({found})")
    return None


def _names(history: History, offer: Offer) -> tuple[str, str]:
    return history.slot.subject, offer.value.object
