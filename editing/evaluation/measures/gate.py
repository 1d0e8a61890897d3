"""How a measure is judged, what a failure is traced to, and how it is explained.  Torch-free.

What is decided from it, verdicts and blame, is in `kbsync.gates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from editing.spec import FactReport

Direction = Literal["at_least", "at_most"]


@dataclass(frozen=True, slots=True)
class Gate:
    """The condition on the measure that declares it, under the measure's name."""

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


def at_least(threshold: float, explains: str, **declared: Any) -> Gate:
    """A gate that passes from `threshold` upwards; `declared` are further fields of `Gate`."""
    return Gate("", threshold, "at_least", explains, **declared)


def at_most(threshold: float, explains: str, **declared: Any) -> Gate:
    """A gate that passes up to `threshold`; `declared` are further fields of `Gate`."""
    return Gate("", threshold, "at_most", explains, **declared)
