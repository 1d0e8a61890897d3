"""The result of an intake: what was read, how it was judged, and what changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from kbsync.admission.verdicts import Verdict
from kbsync.intake.admit import Admitted
from state.records import Slot

BOOTSTRAP_ADVICE = (
    "if this is a first import, type `kbsync sync --bootstrap`, which lets them in; "
    "else look at them with `kbsync quarantine`"
)
"""What to do about facts that the volume breaker stopped."""

LISTED = 5_000
"""Maximum number of decisions in a report; further ones are only counted (a first import may have a million)."""


LONGEST_REJECT = 500
"""Maximum length, in characters, of the stored description of a rejected row."""


@dataclass(frozen=True, slots=True)
class SlotVerdict:
    """One line of a report."""

    slot: Slot
    verdict: Verdict

    @property
    def kind(self) -> str:
        return self.verdict.kind

    @property
    def code(self) -> str:
        return self.verdict.reason.code


@dataclass(slots=True)
class IntakeReport:
    """The result of an intake: counts of everything, and the decisions that changed the ledger."""

    observations: int = 0
    new: int = 0
    late: int = 0
    rejected: int = 0
    """Rows from the source that could not be used."""
    reject: str = ""
    """Where the first rejected row is, and what is wrong with it."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """By kind: unchanged, hold, quarantine, accept, retract."""
    reasons: dict[str, int] = field(default_factory=dict)
    """By reason code."""
    decisions: list[SlotVerdict] = field(default_factory=list)
    """Those that changed the ledger, the first `LISTED` of them."""
    unlisted: dict[str, int] = field(default_factory=dict)
    """Relations that are not in the catalogue, with the number of slots read: stored, but not judged."""
    tripped: bool = False
    """Whether the volume breaker stopped facts."""
    stopped: int = 0
    """Facts that the volume breaker stopped."""
    unfinished: bool = False
    """Whether reading paused before the source's end; the next call continues from there."""

    def add(self, admitted: Iterable[Admitted]) -> None:
        for one in admitted:
            kind, code = one.verdict.kind, one.verdict.reason.code
            self.verdicts[kind] = self.verdicts.get(kind, 0) + 1
            self.reasons[code] = self.reasons.get(code, 0) + 1
            if one.changed and len(self.decisions) < LISTED:
                self.decisions.append(SlotVerdict(one.slot, one.verdict))

    def merge(self, other: IntakeReport) -> None:
        """Add the report of another part of the same cycle."""
        self.observations += other.observations
        self.new += other.new
        self.late += other.late
        self.rejected += other.rejected
        self.reject = self.reject or other.reject
        for counts, more in (
            (self.verdicts, other.verdicts),
            (self.reasons, other.reasons),
            (self.unlisted, other.unlisted),
        ):
            for name, count in more.items():
                counts[name] = counts.get(name, 0) + count
        self.decisions.extend(other.decisions[: LISTED - len(self.decisions)])
        self.tripped = self.tripped or other.tripped
        self.stopped += other.stopped
        self.unfinished = other.unfinished
