"""Everything that is known about one candidate when its measures are computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing.evaluation.question_set import QuestionSet
from editing.evaluation.responses import Responses
from editing.spec import BaseAnswer, FactSpec


@dataclass(frozen=True)
class Evidence:
    """The questions, and the answers of base, candidate and live."""

    tokenizer: Any
    facts: Sequence[FactSpec]
    known: Mapping[str, BaseAnswer]
    """By fact id."""
    asked: QuestionSet
    base: Responses
    candidate: Responses
    live: Responses | None
    alone: Mapping[str, bool]
    """Fact id → whether the base states it when only its δ is injected."""
    groups: Mapping[str, str]
    """Fact id → content key of its key group."""
    growth: float
    """‖W'‖ / ‖W‖ of the matrix that grew most."""
    live_growth: float | None
    described: frozenset[str] = frozenset()
    """Ids of the new facts of which every question is reported."""

    @property
    def before(self) -> Responses:
        """What is compared with the candidate for display: live, or the base if nothing is live."""
        return self.live if self.live is not None else self.base
