"""Checkpoints, their deployments, and what must be kept of them on disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

CheckpointStatus = Literal["candidate", "live", "retired", "rejected"]
DeploymentState = Literal["pending", "deploying", "deployed", "failed", "superseded"]


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
    promotion: int | None = None
    """Number of its latest promotion: orders what was live by history, not by a clock."""
    collected: datetime | None = None
    """When its directory was deleted; the row stays for the history."""
    recipe: str = ""
    """Canonical JSON of what it was built with besides its facts; empty for one older than recipes."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The outbox row for one promotion and one hook, written with the promotion."""

    id: int
    promotion: int
    checkpoint: int
    hook: str
    state: DeploymentState
    attempts: int
    observed: str
    """The version that the server reported, when last asked."""
    detail: str
    created: datetime
    updated: datetime


@dataclass(frozen=True, slots=True)
class Block:
    """A view that must not be promoted, since when and why."""

    view: str
    reason: str
    actor: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Roots:
    """What garbage collection must keep: everything else under <home> may go."""

    live: Checkpoint | None
    previous: Checkpoint | None
    checkpoints: tuple[Checkpoint, ...]
    """live, previous, pinned, and the candidates of open runs; never one already collected."""
    runs: tuple[int, ...]
    """Open runs: their directories are still being written."""
    bases: tuple[str, ...]
    """Base digests that those checkpoints and runs are built from."""
