"""What operators ask, who leads, and what is proven on a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

RequestState = Literal["waiting", "working", "done", "refused", "withdrawn"]
Role = Literal["viewer", "reviewer", "operator"]
"""What a person may do in the pages: look; also decide about facts and candidates; also roll back and run."""
CheckName = Literal["chain", "anchors", "tables", "live", "base"]
"""What is proven on a schedule: the log's hashes, the anchors kept outside, every row, the bytes of models."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Why the daemon does nothing."""

    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """Something that an operator asked of whoever leads, and its answer."""

    id: int
    action: str
    arguments: str
    """Canonical JSON."""
    reason: str
    actor: str
    state: RequestState
    attempts: int
    """How often a leader began it."""
    answer: str
    """Canonical JSON, once it is done or refused."""
    created: datetime
    updated: datetime
    asked_by: str = ""
    """Who asked, as the operating system knew; `actor` is what was claimed."""


@dataclass(frozen=True, slots=True)
class Token:
    """A named secret with which someone uses the pages; the ledger has only its digest."""

    name: str
    role: Role
    digest: str
    created_by: str
    created: datetime
    expires: datetime
    revoked: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Whether it is accepted at this time."""
        return self.revoked is None and now < self.expires


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    generation: int
    expires: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """The last result of something that is proven on a schedule."""

    name: CheckName
    ok: bool
    detail: str
    """What is wrong and what to do; of a proof that held, what was proven."""
    since: datetime
    """When it began to be so."""
    at: datetime
    """When it was proven last."""
