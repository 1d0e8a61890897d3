"""How a measure is declared: what is asked, of whom, and how an answer becomes a figure.

A `FactMeasure` asks questions about single facts; each fact's report carries its own outcomes under the measure's
name, so that a gate on it can name the facts that failed.  A `CandidateMeasure` is one figure of the
candidate as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from editing.evaluation.evidence import Evidence
from editing.evaluation.question_set import Reading
from editing.spec import BuildSpec, Case, FactSpec, Measure

Population = Literal["new", "live", "known"]
"""Facts of the view that a measure is about:

    new    edited, and not yet in live
    live   in live's view
    known  stated by the base unedited
"""

Answered = Literal["scored", "sampled"]
"""How a question is answered:

    scored   right if every token of the expected answer is the strict argmax, teacher-forced
    sampled  right if a text sampled after the prompt names the expected object before it ends
"""

Expected = Literal["stated", "unchanged"]
"""What a question is to be answered with:

    stated     the target that the case names
    unchanged  what the view states where it edits that prompt; else the case's target if the base states it,
               or whatever the base answers
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactMeasure:
    """The share of questions about single facts that are answered as expected."""

    name: str
    asks: Callable[[FactSpec], Sequence[Case]]
    """The questions about one fact; pure."""
    of: Population = "new"
    expects: Expected = "stated"
    answered: Answered = "scored"
    probe: str = ""
    """What its questions are called in a fact's evidence; the measure's name if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMeasure:
    """One figure of the candidate as a whole."""

    name: str
    figure: Callable[[Evidence], Measure | None] | None = None
    """From the evidence to the figure, None where it cannot be measured; by default the share of what it `asks`."""
    asks: Callable[[BuildSpec], Sequence[Case]] | None = None
    """Questions of its own.  A case that names its target requires it; others are to be answered as by the base."""
    reads: Reading | None = None
    """What is read off each model, kept in `Responses.readings` under the measure's name."""


def populations(fact: FactSpec, known: bool) -> frozenset[Population]:
    """The populations that `fact` belongs to; `known`: the base states it."""
    named: dict[Population, bool] = {
        "new": not known and not fact.in_live,
        "live": fact.in_live,
        "known": known,
    }
    return frozenset(population for population, belongs in named.items() if belongs)
