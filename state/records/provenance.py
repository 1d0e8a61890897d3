"""Where a fact came from and what was done with it."""

from __future__ import annotations

from dataclasses import dataclass

from state.records.audit import Event
from state.records.checkpoints import Checkpoint
from state.records.facts import Fact
from state.records.runs import GateResult, RoundOutcome, Run
from state.records.sources import StoredObservation


@dataclass(frozen=True, slots=True)
class Built:
    """One round of a run that had the fact in its view, with that round's gates and the base's own answer."""

    run: Run
    round: int
    outcome: RoundOutcome
    checkpoint: Checkpoint | None
    """The candidate, where this was the run's last round."""
    gates: tuple[GateResult, ...]
    """Of this round alone."""
    known: bool | None
    """True: the base answered it already and it was not edited; None: the base was not asked."""
    base_answer: str | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything the ledger knows of where a fact came from and what was done with it."""

    fact: Fact
    observations: tuple[StoredObservation, ...]
    """What the fact's source stated about the slot, oldest first; `fact.revision` names the deciding one."""
    builds: tuple[Built, ...]
    events: tuple[Event, ...]
