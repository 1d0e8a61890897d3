"""Everything that is known about one candidate when its measures are computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from editing.evaluation.question_set import QuestionSet
from editing.evaluation.responses import Responses
from editing.spec import BaseAnswer, FactSpec, Measure


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


def counted(
    name: str, hits: Sequence[bool], live: Sequence[bool] | None = None, *, exhaustive: bool = True
) -> Measure:
    """A proportion; without cases it has n = k = 0 and no value."""
    n = len(hits)
    return Measure(
        name,
        value=sum(hits) / n if n else None,
        n=n,
        k=sum(hits),
        exhaustive=exhaustive,
        live=sum(live) / n if live and n else None,
        live_k=sum(live) if live is not None else None,
    )


def ratio(value: float | None, base: float | None) -> float | None:
    """`value` over `base`, or None if that is not a finite number."""
    return None if value is None or base is None or base == 0 else finite(value / base)


def finite(value: float | None) -> float | None:
    """None for a value that is not finite, since JSON has no NaN; a gate on it fails."""
    return value if value is not None and math.isfinite(value) else None
