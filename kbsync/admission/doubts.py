"""Rules that may doubt a single value: each is a declaration, and a new rule is added to `RULES`.

A rule has a code for machines, a sentence for people, the setting behind it (a field of `Rules` in
`policy.py`), and a pure function that returns what is wrong, or None.  The first rule that finds something
quarantines the value.  `docs/admission.md` lists the rules in a table generated from `RULES`;
`docs/howto/add-a-rule.md` describes how to add one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from kbsync.admission.fusion import Offer
from kbsync.admission.history import History
from kbsync.admission.verdicts import Reason, in_words
from kbsync.catalogue import labels

FindDoubt = Callable[[History, Offer], str | None]
"""What is wrong with the offer, in a few words; None if the rule finds nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to doubt a value."""

    code: str
    text: str
    """The sentence of the reason; what was found follows in parentheses."""
    find: FindDoubt
    settings: tuple[str, ...] = ()
    """The fields of `Rules` that the rule reads."""
    approvable: bool = True
    """Whether a reviewer can approve the value despite the finding."""


def is_living(history: History) -> bool:
    """Whether the subject counts as a living person.

    If the ledger does not know, the subject counts as living where the relation's subjects are humans.
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
    return (
        f"{in_words(offer.value.object)}: {offer.references} of {least}" if offer.references < least else None
    )


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
"""In the order in which they are applied."""


def doubt(history: History, offer: Offer) -> Reason | None:
    """The reason of the first rule that finds something wrong with the value, or None."""
    for rule in RULES:
        if (found := rule.find(history, offer)) is not None:
            return Reason(rule.code, f"{rule.text} ({found})")
    return None


def _names(history: History, offer: Offer) -> tuple[str, str]:
    return history.slot.subject, offer.value.object
