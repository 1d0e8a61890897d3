"""What the ledger hands out: plain frozen values, detached from any session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

FactStatus = Literal["held", "quarantined", "wanted", "retracted", "superseded"]
RunState = Literal[
    "planned", "building", "built", "judged", "awaiting_review", "staged", "promoted", "deployed",
    "rejected", "failed", "rolled_back",
]
CheckpointStatus = Literal["candidate", "live", "retired", "rejected"]
Recorded = Literal["new", "duplicate", "late"]


@dataclass(frozen=True, slots=True)
class Entity:
    id: str
    label: str | None
    aliases: tuple[str, ...] = ()
    living: bool | None = None


@dataclass(frozen=True, slots=True)
class StoredObservation:
    """A slot as one source had it at one revision; `statements` is canonical JSON of the statements."""

    source: str
    subject: str
    relation: str
    revision: int
    modified: datetime | None
    observed: datetime
    statements: str
    id: int | None = None
    late: bool = False
    """True: a revision not newer than one seen before; history only, never current."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One watched (subject, relation) and the prompt that it renders to now."""

    subject: str
    relation: str
    subject_label: str
    template: str
    prompt_key: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact about to be written; `key` (derived) makes the same slot, object and prompt one row for ever."""

    subject: str
    subject_label: str
    relation: str
    object: str
    target: str
    template: str
    prompt_key: str
    status: FactStatus
    reason: str
    source: str
    revision: int
    statement: str
    held_until: datetime | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Fact:
    """An object wanted, or once wanted, for a slot, with its provenance and its pinned prompt."""

    id: int
    key: str
    subject: str
    subject_label: str
    relation: str
    object: str
    target: str
    """The object as it is spelled after the prompt."""
    template: str
    prompt_key: str
    status: FactStatus
    reason: str
    source: str
    revision: int
    statement: str
    held_until: datetime | None
    priority: int
    decision: Literal["approved", "rejected"] | None
    """What a reviewer last said of it."""
    created: datetime
    updated: datetime

    @property
    def prompt(self) -> str:
        return self.template.replace("{}", self.subject_label)


@dataclass(frozen=True, slots=True)
class View:
    """An immutable set of facts; `digest` is over their keys, so the same facts are the same view."""

    digest: str
    size: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Run:
    id: int
    state: RunState
    view: str
    base: str
    trigger: str
    """Who or what asked for it."""
    round: int
    attempts: int
    checkpoint: int | None
    reason: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class Checkpoint:
    id: int
    status: CheckpointStatus
    view: str
    base: str
    run: int
    path: str
    """Directory name under <home>/checkpoints."""
    digest: str
    pinned: bool
    blocked: bool
    """Rolled back: its view is not promoted again until released."""
    created: datetime
    promoted: datetime | None


@dataclass(frozen=True, slots=True)
class GateResult:
    run: int
    round: int
    name: str
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    detail: str


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
class Lease:
    name: str
    holder: str
    generation: int
    expires: datetime


JSONValue = dict[str, Any] | list[Any] | str | int | float | bool | None
