"""What the ledger hands out: plain frozen values, detached from any session."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

FactStatus = Literal["held", "quarantined", "wanted", "retracted", "superseded"]
RunState = Literal[
    "planned",
    "building",
    "built",
    "judged",
    "awaiting_review",
    "staged",
    "promoted",
    "deployed",
    "rejected",
    "failed",
    "rolled_back",
]
CheckpointStatus = Literal["candidate", "live", "retired", "rejected"]
Recorded = Literal["new", "duplicate", "late"]
RoundOutcome = Literal["last", "left_out", "kept"]
"""What became of a fact after a round: the run ended with it, went on without the fact, or went on with it."""
DeploymentState = Literal["pending", "deploying", "deployed", "failed", "superseded"]
AttemptOutcome = Literal[
    "running", "succeeded", "failed", "killed", "hung", "out_of_memory", "wrong_version", "lost"
]
RequestState = Literal["waiting", "working", "done", "refused", "withdrawn"]
CheckName = Literal["chain", "anchors", "tables", "live", "base"]
"""What is proven on a schedule: the log's hashes, the anchors kept outside, every row, the bytes of models."""
Decision = Literal["approved", "rejected", "barred"]
"""The last word on a value: a reviewer's, or (`barred`) that of a gate or a rollback which put it out."""


@dataclass(frozen=True, slots=True)
class Entity:
    id: str
    label: str | None
    aliases: tuple[str, ...] = ()
    living: bool | None = None


GONE = -1
"""The revision of an observation about a subject that the source no longer has, when it is recorded."""


@dataclass(frozen=True, slots=True)
class StoredObservation:
    """A slot as one source had it from one revision on; `statements` is canonical JSON of the statements."""

    source: str
    subject: str
    relation: str
    revision: int
    modified: datetime | None
    observed: datetime
    statements: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How reading one source goes."""

    source: str
    succeeded: datetime | None = None
    """When it was last read to its end, whether or not anything had changed."""
    failed: datetime | None = None
    kind: str = ""
    """The class of the last error; empty if there was none."""
    error: str = ""
    failures: int = 0
    """Errors in a row since the last success."""
    retry: datetime | None = None
    """After errors: when it is asked again."""
    reconciled: int | None = None
    """How far a full re-read has come; None: none is under way."""


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
class Rendering:
    """What the slots of a relation are rendered with."""

    relation: str
    template: str
    folding: str
    """Which folding made their prompt keys."""
    pending: bool = False
    """Slots have been rendered with it that were not admitted again yet."""


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
    """Since when it has been what `status` says, where another row stood for it before; None: from now on."""

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

    def offered(self, **changes: Any) -> NewFact:
        """The fact as it could be written again, with `changes`: for another slot, in another status."""
        same = {item.name: getattr(self, item.name) for item in fields(NewFact)}
        return NewFact(**{**same, **changes})


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
    review_until: datetime | None = None
    """While `awaiting_review`: when the timeout policy decides instead of a reviewer."""


@dataclass(frozen=True, slots=True)
class Round:
    """One build-and-judge pass of a run: after a failed gate the next round has a smaller view."""

    run: int
    round: int
    view: str
    started: datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """One worker process on one round, and what became of it."""

    id: int
    run: int
    round: int
    worker: str
    """Which process: executor, host, pid, version."""
    outcome: AttemptOutcome
    evidence: str
    """Canonical JSON: exit status, last heartbeat, message, peak memory."""
    started: datetime
    ended: datetime | None


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
    """One hook to be told of one promotion: the outbox row, written with the promotion."""

    id: int
    promotion: int
    checkpoint: int
    hook: str
    state: DeploymentState
    attempts: int
    observed: str
    """The version that the server said it serves, when last asked."""
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
class Probe:
    """A prompt that judges a fact: a neighbour or the subject's other relation must not move when the
    fact is edited; an alias of the subject must be answered with the fact's target."""

    kind: Literal["neighbour", "same_subject", "alias"]
    prompt: str
    target: str


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
    """True needs a finite value: a gate that is not a number has failed."""
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


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the chain at some time, to be kept where the daemon cannot rewrite it."""

    seq: int
    hash: str
    at: datetime


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
    """True: the base said it already and it was not edited; None: the base was not asked."""
    base_answer: str | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Everything the ledger knows of where a fact came from and what was done with it."""

    fact: Fact
    observations: tuple[StoredObservation, ...]
    """What the fact's source said of the slot, oldest first; `fact.revision` names the deciding one."""
    builds: tuple[Built, ...]
    events: tuple[Event, ...]
