"""Facts: what is wanted, was wanted, waits or is doubted; and the prompts that judge them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FactStatus = Literal["held", "quarantined", "wanted", "retracted", "superseded"]
Decision = Literal["approved", "rejected", "barred"]
"""The last word on a value: a reviewer's, or (`barred`) that of a gate or a rollback which put it out."""


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
    reason_code: str = ""
    """The reason for machines: one of the codes that docs/admission.md lists."""
    since: datetime | None = None
    """Since when it has had this status, where another row stood for it before; None: from now on."""

    @property
    def key(self) -> str:
        """See `fact_key`."""
        return fact_key(
            self.subject, self.relation, self.object, self.template, self.subject_label, self.target
        )


def fact_key(subject: str, relation: str, object: str, template: str, subject_label: str, target: str) -> str:
    """SHA-256 of what the editor would be asked to do: slot, object and pinned prompt.

    Over the canonical JSON (RFC 8785) of the six strings, for which the standard library's encoder gives
    the canonical text.
    """
    parts = [subject, relation, object, template, subject_label, target]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Move:
    """One fact's change of status, for `move_facts`; `expect` makes it a compare-and-set."""

    id: int
    to: FactStatus
    reason: str
    expect: FactStatus | None = None
    held_until: datetime | None = None
    evidence: Mapping[str, Any] | None = None
    """Numbers that led here (a gate's values for this fact), kept in the event."""
    reason_code: str = ""
    bars: bool = False
    """Whether the value is not to be let in again by itself: the fact is then decided as `barred`."""


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
    decision: Decision | None
    """The last word on it, by a reviewer, a gate or a rollback; None: none yet, or it was taken back."""
    created: datetime
    updated: datetime
    reason_code: str = ""
    """The reason for machines: one of the codes that docs/admission.md lists."""
    decided: datetime | None = None
    """When `decision` was made."""
    since: datetime = EPOCH
    """When its status became what it is; `updated` also follows its provenance and its end date."""

    @property
    def prompt(self) -> str:
        return self.template.replace("{}", self.subject_label)

    @property
    def version(self) -> str:
        """What a reviewer goes by: value, status and decision.  It changes when somebody else has decided."""
        decided = self.decided.isoformat() if self.decided else ""
        seen = (self.object, self.target, self.status, self.reason_code, self.decision or "", decided)
        return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]

    def offered(self, **changes: Any) -> NewFact:
        """The fact as it could be written again, with `changes`: for another slot, in another status."""
        same = {item.name: getattr(self, item.name) for item in fields(NewFact)}
        return NewFact(**{**same, **changes})


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt that judges a fact: a neighbour or the subject's other relation must not move when the
    fact is edited; an alias of the subject must be answered with the fact's target."""

    kind: Literal["neighbour", "same_subject", "alias"]
    prompt: str
    target: str
    name: str | None = None
    """Of an alias: the subject's other name, which `prompt` is about."""


@dataclass(frozen=True, slots=True)
class BaseAnswer:
    """What a base answers to a fact's prompt without any edit."""

    known: bool
    """Whether it states the fact: the target is the strict argmax on its prompt."""
    answer: str


@dataclass(frozen=True, slots=True)
class View:
    """An immutable set of facts; `digest` is over their keys, so the same facts are the same view."""

    digest: str
    size: int
    created: datetime
