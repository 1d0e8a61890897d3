"""The verdicts that admission can give on a slot.

Every verdict has a `Reason`: a code for machines and a sentence for people; `codes.py` lists them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from connectors.observations import LITERAL


@dataclass(frozen=True, slots=True)
class Reason:
    """A code for machines and a sentence for people; each is a column of the ledger's facts."""

    code: str
    text: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


def in_words(object: str) -> str:
    """An object as reasons name it: an entity by its id, a literal by its text."""
    return object.removeprefix(LITERAL)


@dataclass(frozen=True, slots=True)
class Value:
    """A value that a source states for a slot, ready to become a fact."""

    object: str
    target: str
    """The object's label as it appears in running text."""
    statement: str
    source: str
    revision: int
    priority: int


# `stated` of a verdict contains the objects that any source states for the slot now: a quarantined row
# is kept for its reviewer only while its object is among them.


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The slot stays as it is."""

    reason: Reason
    recheck: datetime | None = None
    """When the verdict may change without a new statement."""
    stated: frozenset[str] = frozenset()
    kind: Literal["unchanged"] = "unchanged"


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until `until`; the wanted fact, if there is one, stays wanted."""

    until: datetime
    reason: Reason
    value: Value | None
    """None: the *retraction* of the wanted fact is held."""
    stated: frozenset[str] = frozenset()
    kind: Literal["hold"] = "hold"


@dataclass(frozen=True, slots=True)
class Quarantine:
    """A reviewer has to decide about each of `values`."""

    reason: Reason
    values: tuple[Value, ...]
    withdraw: bool = False
    """Whether the slot's wanted fact is quarantined too; otherwise it stays, as the last trusted value."""
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
    """The slot no longer has an object: leaving the fact out restores the base model's answer."""

    reason: Reason
    stated: frozenset[str] = frozenset()
    kind: Literal["retract"] = "retract"


Verdict = Unchanged | Hold | Quarantine | Accept | Retract
