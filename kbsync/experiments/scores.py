"""The scores of a trial, by fact, and what they are over facts and seeds, with intervals.  Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editing.evaluation.bootstrap import Table, harmonic, means, middle, table_of, weights


@dataclass(frozen=True, slots=True)
class FactScores:
    """One edited fact; None where it has no such prompts.  The measures are those of docs/experiments.md."""

    id: str
    relation: str
    ES: float | None
    PS: float | None
    NS: float | None
    strict: float
    strict_paraphrase: float | None
    strict_neighbour: float | None
    accuracy: float
    accuracy_paraphrase: float | None
    specificity: float | None
    two_hop: float | None = None
    GE: float | None = None
    RS: float | None = None
    said: float | None = None
    reversed: float | None = None
    two_hop_said: float | None = None
    negation: float | None = None
    long_prefix: float | None = None
    same_subject: float | None = None


@dataclass(frozen=True, slots=True)
class TrialScores:
    """One edited model."""

    facts: tuple[FactScores, ...]
    perplexity_ratio: float = 1.0
    """Perplexity of held-out text over the base's."""
    weight_growth: float = 1.0
    """‖W + Δ‖ / ‖W‖ of the edited matrix that grew most."""
    kl_median: float | None = None
    """Of KL(base ‖ edited) of the next token over untouched prompts, in nats."""
    kl_p99: float | None = None
    lam: float = 0.0
    seconds: float = 0.0
    """Time of the edit; what was in the cache cost nothing."""
    left_out: int = 0
    """Facts that the editor could not edit; they count as they are answered."""
    error: str = ""
    """Why there is no edited model; the other fields are then empty."""


MEASURES = tuple(field.name for field in fields(FactScores) if field.name not in ("id", "relation"))
"""What is measured by fact."""


DECIMALS = 6
"""Of a measure by fact in the results."""


def fact_table(facts: Sequence[FactScores]) -> dict[str, list[Any]]:
    """The scores by fact as JSON: the columns that any fact has a value in, and a row for each fact."""
    measures = [name for name in MEASURES if any(getattr(fact, name) is not None for fact in facts)]
    rows = [[fact.id, fact.relation, *(_short(getattr(fact, name)) for name in measures)] for fact in facts]
    return {"columns": ["id", "relation", *measures], "rows": rows}


def _short(value: float | None) -> float | None:
    """A measure with `DECIMALS` decimals, whole numbers without any."""
    if value is None:
        return None
    return int(value) if value == int(value) else round(value, DECIMALS)


def trial_entry(scores: TrialScores) -> dict[str, Any]:
    """One edited model as JSON."""
    return asdict(replace(scores, facts=())) | {"facts": fact_table(scores.facts)}


@dataclass(frozen=True, slots=True)
class Measured:
    """A mean over facts, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def measured(trials: Sequence[TrialScores], *, seed: int = 0) -> dict[str, Measured]:
    """Every measure that applies, and S, over the facts of trials with different seeds.

    A fact that occurs in several trials is drawn with all of them.
    """
    draws = _draws(trials, seed)
    found = {name: _measured(values) for name, values in draws.items()}
    return {name: value for name, value in found.items() if value is not None}


def difference(
    one: Sequence[TrialScores], other: Sequence[TrialScores], name: str = "S", *, seed: int = 0
) -> Measured | None:
    """A measure of `one` less that of `other`, for the same facts in the same order, drawn together.

    Raises ValueError if the facts are not the same.
    """
    if _ids(one) != _ids(other):
        raise ValueError("only trials of the same facts can be compared fact by fact")
    return _measured(_draws(one, seed)[name] - _draws(other, seed)[name])


def _ids(trials: Sequence[TrialScores]) -> list[str]:
    return [fact.id for trial in trials for fact in trial.facts]


def _draws(trials: Sequence[TrialScores], seed: int) -> Mapping[str, NDArray[np.float64]]:
    """Measure → its value in each draw; the first draw holds every fact once."""
    ids = _ids(trials)
    units = {id: number for number, id in enumerate(dict.fromkeys(ids))}
    drawn = weights(len(units), seed)[:, [units[id] for id in ids]]
    rows = [[getattr(fact, name) for name in MEASURES] for trial in trials for fact in trial.facts]
    found: Table = means(table_of(rows, len(MEASURES)), drawn)
    columns = {name: found[:, number] for number, name in enumerate(MEASURES)}
    return {"S": harmonic(found[:, :3]), **columns}


def _measured(values: NDArray[np.float64]) -> Measured | None:
    interval = middle(values)
    return None if interval is None else Measured(float(values[0]), *interval)
