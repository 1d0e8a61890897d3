"""What admission can say of a slot, and why: the words of its verdicts.

Every refusal carries a `Reason`: a code for machines, a sentence for people; `codes.py` has them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal


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
