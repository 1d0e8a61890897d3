"""What the ledger hands out: plain frozen values, detached from any session."""

from __future__ import annotations

from state.records.audit import Anchor, Difference, Event, Verification
from state.records.checkpoints import Block, Checkpoint, CheckpointStatus, Deployment, DeploymentState, Roots
from state.records.facts import (
    EPOCH,
    BaseAnswer,
    Decision,
    Fact,
    FactStatus,
    Move,
    NewFact,
    Probe,
    View,
    fact_key,
)
from state.records.operation import Check, CheckName, Lease, Pause, Request, RequestState, Role, Token
from state.records.provenance import Built, Provenance
from state.records.runs import Attempt, AttemptOutcome, GateResult, Round, RoundOutcome, Run, RunState
from state.records.slots import Rendering, Slot, SlotKey
from state.records.sources import (
    GONE,
    Erased,
    ForgottenSubject,
    Recorded,
    SourceHealth,
    StoredEntity,
    StoredObservation,
)

__all__ = [
    "EPOCH",
    "GONE",
    "Anchor",
    "Attempt",
    "AttemptOutcome",
    "BaseAnswer",
    "Block",
    "Built",
    "Check",
    "CheckName",
    "Checkpoint",
    "CheckpointStatus",
    "Decision",
    "Deployment",
    "DeploymentState",
    "Difference",
    "Erased",
    "Event",
    "Fact",
    "FactStatus",
    "ForgottenSubject",
    "GateResult",
    "Lease",
    "Move",
    "NewFact",
    "Pause",
    "Probe",
    "Provenance",
    "Recorded",
    "Rendering",
    "Request",
    "RequestState",
    "Role",
    "Roots",
    "Round",
    "RoundOutcome",
    "Run",
    "RunState",
    "Slot",
    "SlotKey",
    "SourceHealth",
    "StoredEntity",
    "StoredObservation",
    "Token",
    "Verification",
    "View",
    "fact_key",
]
