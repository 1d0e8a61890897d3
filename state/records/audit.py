"""The audit log, and what its verifier found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from state.records.operation import CheckName


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the append-only audit log; `body` is RFC 8785 canonical JSON."""

    seq: int
    at: datetime
    kind: str
    actor: str
    run: int | None
    fact: int | None
    body: str
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the chain at some time, to be kept where the daemon cannot rewrite it."""

    seq: int
    hash: str
    at: datetime
    note: str = ""
    """The signed tree head of that many events (`state/notes.py`), where a key signs."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the log says."""

    table: str
    key: str
    """Its primary key; parts joined by `/`."""
    reason: str

    def __str__(self) -> str:
        return f"{self.table} {self.key}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What the verifier found; `first_bad` is the first sequence number that cannot be trusted."""

    ok: bool
    count: int
    """Events that were checked."""
    first_bad: int | None = None
    reason: str = ""
    differences: tuple[Difference, ...] = ()
    """Rows that are not what the log says, the first `LISTED` of them."""
    unlike: int = 0
    """How many there are."""
    failed: CheckName | None = None
    """Which of the proofs did not hold."""
    archived: tuple[str, ...] = ()
    """Files of archived events that are not there: what is in them was verified before it was moved."""
