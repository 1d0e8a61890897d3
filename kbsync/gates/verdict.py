"""What a gate decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


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
