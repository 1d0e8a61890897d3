"""What admission can say of a slot, and why: the words of its verdicts and its reasons.

Every refusal carries a `Reason`: a code for machines, a sentence for people.  `CODES` is the list
of all codes; `docs/admission.md` describes each and the setting behind it, held to it by a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

CODES: dict[str, str] = {
    # unchanged
    "same": "the source still says what is wanted",
    "nothing": "the slot has no value and nothing is wanted",
    "unread": "no source has been read for the slot yet",
    "same_meaning": "another item with the same label or alias: the link changed, not the fact",
    "several_normal": "several current values are normal for this relation: none is picked",
    "kept": "the value is gone, and this relation's facts are kept",
    "rejected": "a reviewer has rejected this value",
    "barred": "the value was put out before, by a gate or a rollback, and waits for a reviewer",
    "breaker_open": "the value was stopped by the volume breaker and waits for a reviewer",
    "disabled": "the relation is switched off in the catalogue",
    # hold
    "settling": "the value has not stood long enough",
    "future": "the value begins later",
    "settling_end": "the slot has not been without value long enough",
    "settling_label": "a new label has not stood long enough",
    # accept
    "settled": "the value has stood long enough",
    "approved": "a reviewer has approved this value",
    "relabelled": "the subject or the object has a new label",
    # retract
    "ended": "the last value has ended",
    "no_value": "the source says that there is no value",
    "unknown_value": "the source says that the value is unknown",
    "deprecated": "the source has deprecated every value",
    "removed": "the source has removed every value",
    "forgotten": "an operator has removed what its source stated",
    "ambiguous": "the wanted value is gone and several others stand in its place",
    # quarantine
    "denied": "the subject, relation or object is on a deny-list",
    "living_off": "facts about living persons are off",
    "living_review": "facts about living persons need approval",
    "several_values": "a single-valued relation has several current values",
    "sources_disagree": "sources of equal priority state different values",
    "homonym": "another slot makes the same prompt and has another answer",
    "flips": "the value went back and forth too often",
    "unreferenced": "the value has too few references",
    "label_missing": "the subject or the object has no label",
    "label_empty": "a label has no letter or digit",
    "label_long": "a label is too long",
    "label_control": "a label contains an invisible character",
    "label_braces": "a label contains a brace",
    "label_lookalike": "a label contains letters that look like others",
    "label_script": "a label is written in a script that is not allowed",
    "volume": "more facts than the volume breaker allows were accepted in one cycle",
    # what others than admission find out about a value that was let in
    "gate": "the value failed a gate",
    "rolled_back": "the checkpoint that brought the value was rolled back",
    "restored": "the value that replaced this one failed a gate or was rolled back",
    "reopened": "a reviewer's decision about the value was taken back",
    # how intake moves the rows that a verdict leaves behind
    "successor": "the slot has another value now",
    "gone": "the source does not state this value any more",
    "redirected": "the subject was merged into another",
}

UNAPPROVABLE = frozenset(
    {"denied", "living_off", "label_missing", "label_empty", "label_control", "label_braces"}
)
"""Refusals that an approval does not lift: the settings forbid the fact, or it cannot be rendered."""

JUDGED = UNAPPROVABLE | {
    "living_review",
    "several_values",
    "sources_disagree",
    "homonym",
    "flips",
    "unreferenced",
    "label_long",
    "label_lookalike",
    "label_script",
    "reopened",
}
"""Quarantines that admission itself may end, once it finds the doubt gone; any other waits for a reviewer."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a code for machines and a sentence for people, a column each of the ledger's facts."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


@dataclass(frozen=True, slots=True)
class Value:
    """A value that a source states for a slot, ready to become a fact."""

    object: str
    target: str
    """The object's label as it stands in running text."""
    statement: str
    source: str
    revision: int
    priority: int


# Every verdict carries as `stated` the objects that any source states for the slot now: a row in
# quarantine stays before its reviewer only as long as its object is among them.


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing is to be done."""

    reason: Reason
    recheck: datetime | None = None
    """When time alone may change the verdict."""
    stated: frozenset[str] = frozenset()
    kind: Literal["unchanged"] = "unchanged"


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until `until`; what was wanted meanwhile stays wanted."""

    until: datetime
    reason: Reason
    value: Value | None
    """None: what is held is the *retraction* of what is wanted."""
    stated: frozenset[str] = frozenset()
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A person has to look; each of `values` is put before a reviewer."""

    reason: Reason
    values: tuple[Value, ...]
    withdraw: bool = False
    """Whether what was wanted in the slot is quarantined too, or stands on as the last trusted value."""
    recheck: datetime | None = None
    stated: frozenset[str] = frozenset()
    kind: Literal["quarantine"] = "quarantine"


@dataclass(frozen=True, slots=True)
class Accept:
    """`value` is the slot's object from now on."""

    value: Value
    reason: Reason
    recheck: datetime | None = None
    stated: frozenset[str] = frozenset()
    kind: Literal["accept"] = "accept"

    @property
    def object(self) -> str:
        return self.value.object

    @property
    def statement(self) -> str:
        return self.value.statement


@dataclass(frozen=True, slots=True)
class Retract:
    """The slot has no object any more: what the base model says is restored by leaving the fact out."""

    reason: Reason
    stated: frozenset[str] = frozenset()
    kind: Literal["retract"] = "retract"


Verdict = Unchanged | Hold | Quarantine | Accept | Retract
