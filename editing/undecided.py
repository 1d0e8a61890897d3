"""Free answers that the rules on names leave undecided, as a report has them.  Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FreeVerdict = Literal["right", "wrong", "undecided"]
"""Whether a free answer states the fact; see `editing.evaluation.free_answers.judged`."""


@dataclass(frozen=True, slots=True)
class RuledAnswer:
    """A free answer, and what the rules on names find."""

    text: str
    verdict: FreeVerdict


@dataclass(frozen=True, slots=True)
class UndecidedAnswer:
    """A question about a fact to which the answer of the candidate, or of live, is undecided."""

    measure: str
    place: int
    """Of the question among those of the measure about the fact (`FactReport.outcomes`)."""
    prompt: str
    subject: str
    names: tuple[str, ...]
    """The object and its aliases."""
    old_names: tuple[str, ...]
    """What the answer must not name: the previous object and its aliases."""
    candidate: RuledAnswer
    live: RuledAnswer | None = None
