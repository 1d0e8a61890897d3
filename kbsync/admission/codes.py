"""Every reason code that the ledger may contain, from admission's verdicts and from later steps.

`docs/admission.md` describes each code and the setting behind it; a test keeps the two in step.
"""

from __future__ import annotations

from kbsync.admission.doubts import RULES
from kbsync.admission.verdicts import Reason

CODES: dict[str, str] = {
    # unchanged
    "same": "the source still states the wanted value",
    "nothing": "the slot has no value and nothing is wanted",
    "unread": "no source has been read for the slot yet",
    "same_meaning": "another item with the same label or alias: the link changed, not the fact",
    "several_normal": "the relation may have several current values: none is chosen",
    "kept": "the value is gone, and this relation's facts are kept",
    "rejected": "a reviewer has rejected this value",
    "barred": "the value was removed before, by a gate or a rollback, and waits for a reviewer",
    "breaker_open": "the value was stopped by the volume breaker and waits for a reviewer",
    "disabled": "the relation is switched off in the catalogue",
    # hold
    "settling": "the value has not been unchanged for long enough",
    "future": "the value begins later",
    "settling_end": "the slot has not been without a value for long enough",
    "settling_label": "a new label has not been unchanged for long enough",
    # accept
    "settled": "the value has been unchanged for long enough",
    "approved": "a reviewer has approved this value",
    "relabelled": "the subject or the object has a new label",
    # retract
    "ended": "the last value has ended",
    "no_value": "the source states that there is no value",
    "unknown_value": "the source states that the value is unknown",
    "deprecated": "the source has deprecated every value",
    "removed": "the source has removed every value",
    "forgotten": "an operator has removed what its source stated",
    "ambiguous": "the wanted value is gone and several others have replaced it",
    # quarantine: the settings forbid it, sources or slots contradict each other, or one value is doubted
    "denied": "the subject, relation or object is on a deny-list",
    "living_off": "facts about living persons are switched off",
    "several_values": "a single-valued relation has several current values",
    "sources_disagree": "sources of equal priority state different values",
    "homonym": "another slot has the same prompt and a different answer",
    **{rule.code: rule.text for rule in RULES},
    "volume": "more facts than the volume breaker allows were accepted in one cycle",
    # found later about an accepted value: by the gates, the build, a rollback or a reviewer
    "gate": "the value failed a gate",
    "control_token": "the model's tokenizer reads a control token in a label",
    "untokenised": "the model's tokenizer cannot read the subject",
    "unsayable": "the model's tokenizer has no tokens for the object",
    "too_long": "the prompt is longer than the model reads",
    "malformed": "the template has no place for the subject, or a label is empty",
    "conflict": "another fact of the view gives the same prompt another answer",
    "not_finite": "the value's optimisation is not a finite number",
    "out_of_memory": "the value alone does not fit in memory, though others do",
    "rolled_back": "the checkpoint that brought the value was rolled back",
    "restored": "the value that replaced this one failed a gate or was rolled back",
    "reopened": "a reviewer's decision about the value was taken back",
    # how intake moves the rows that a verdict does not name
    "successor": "the slot has another value now",
    "respelled": "the value waits with the relation's new template",
    "retemplated": "the fact was moved to the relation's new template",
    "gone": "the source does not state this value any more",
    "redirected": "the subject was merged into another",
    "erased": "the subject, or the value, was forgotten, and its words were erased",
}

UNAPPROVABLE = frozenset({"denied", "living_off"}) | {rule.code for rule in RULES if not rule.approvable}
"""Refusals that an approval does not override: the settings forbid the fact, or it cannot be rendered."""

JUDGED = (
    UNAPPROVABLE
    | {rule.code for rule in RULES}
    | {"several_values", "sources_disagree", "homonym", "reopened"}
)
"""Quarantines that admission may end by itself once the reason no longer holds; any other waits for a reviewer."""


def because(code: str, what: str) -> Reason:
    """The reason with this code; `what` it concerns follows in parentheses."""
    return Reason(code, f"{CODES[code]} ({what})")
