"""How a gate is declared, and what it decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from editing.spec import FactReport

Direction = Literal["at_least", "at_most"]


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition on the measure of the same name (declared in `editing.evaluation.measures`)."""

    name: str
    threshold: float
    direction: Direction
    explains: str
    """A noun phrase that describes the measure."""
    confidence: float = 0.95
    """Confidence of the bound that a sampled measure is compared by."""
    margin: float | None = None
    """If set, the gate also fails if the candidate is worse than live by more than this."""
    enabled: bool = True
    required: bool = False
    """Whether the gate fails if no case applies; otherwise it is not judged."""
    evidence: Callable[[FactReport], str] | None = None
    """Describes what is wrong with one fact, for the log; None for a gate on the candidate as a whole."""
    advice: str = ""
    """What to do if a gate on the candidate as a whole fails."""
    compared: Callable[[float, int], float] | None = None
    """(value, n) → the figure that is compared with the threshold, if that is not the value itself."""

    @property
    def judges_facts(self) -> bool:
        """Whether its failure can be traced to single facts."""
        return self.evidence is not None

    def settings(self) -> dict[str, Any]:
        """Name, direction and everything that an operator can set: what the verdict depends on besides the measure."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "direction": self.direction,
            "confidence": self.confidence,
            "margin": self.margin,
            "enabled": self.enabled,
            "required": self.required,
        }

    def described(self) -> dict[str, Any]:
        """The declaration as plain values."""
        return self.settings() | {
            "explains": self.explains,
            "judges": "facts" if self.judges_facts else "candidate",
            "advice": self.advice,
        }

    @property
    def condition(self) -> str:
        """`≥ 0.95` or `≤ 1.05`."""
        return f"{'≥' if self.direction == 'at_least' else '≤'} {self.threshold:g}"


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """The verdict of one gate.

    `bound` is the number that was compared with `threshold`: the value itself, its confidence bound, or what the gate
    compares in its place.  It is
    None if nothing could be compared: the gate failed, no case applied, or the base cannot answer such questions.
    """

    name: str
    value: float | None
    bound: float | None
    threshold: float
    n: int
    passed: bool
    detail: str


class Judged(Protocol):
    """A verdict, or a row of the ledger that holds one."""

    @property
    def passed(self) -> bool: ...
    @property
    def bound(self) -> float | None: ...
    @property
    def n(self) -> int: ...


GateStanding = Literal["passed", "failed", "not judged", "not judgeable"]


def standing(verdict: Judged) -> GateStanding:
    """Whether the gate passed, failed, or was not judged: no case applied, or the base cannot answer such questions."""
    if not verdict.passed:
        return "failed"
    if verdict.bound is not None:
        return "passed"
    return "not judgeable" if verdict.n else "not judged"


def is_judged(verdict: Judged) -> bool:
    """Whether the gate passed or failed."""
    return standing(verdict) in ("passed", "failed")


def share(outcomes: tuple[bool, ...]) -> float:
    """The share of questions that were answered as expected; 1 if none was asked."""
    return sum(outcomes) / len(outcomes) if outcomes else 1.0
