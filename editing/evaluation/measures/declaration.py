"""Declaring a measure and its gate: what is asked, about which facts, how answers become a figure, how it is judged.

A `FactMeasure` asks questions about single facts.  Each fact's report contains its outcomes under the measure's
name, so that a gate on it can name the facts that failed.  A `CandidateMeasure` is one figure of the candidate as
a whole.  A measure without a gate is only reported.  Torch-free: kbsync reads the gates of the same declarations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from editing.evaluation.measures.gate import Gate
from editing.spec import BuildSpec, Case, FactSpec, Measure

if TYPE_CHECKING:
    from editing.evaluation.evidence import Evidence

Population = Literal["new", "live", "known", "old", "examined"]
"""Facts of the view that a measure is about:

    new       edited, and not yet in live
    live      in live's view
    known     stated by the base unedited
    old       edited, and in live
    examined  a sample of the old ones, which changes from run to run
"""

Answered = Literal["scored", "sampled", "free", "chosen"]
"""How a question is answered:

    scored   right if every token of the expected answer is the strict argmax, teacher-forced
    sampled  right if a text sampled after the prompt names the expected object before it ends
    free     right if the greedy answer, up to its natural end, states the fact (`free_answers.states`)
    chosen   right if the expected one of the measure's two `choices` is likelier than the other
"""

Expected = Literal["stated", "unchanged", "avoided"]
"""The expected answer of a question:

    stated     the target of the case
    unchanged  what the view states, if it edits that prompt; else the case's target if the base states it,
               or else whatever the base answers
    avoided    anything but the target of the case; only for scored questions
"""


Reads = Literal["perplexity"]
"""What is computed from a running model instead of being asked, by a function in `editing.evaluation.readings`:

    perplexity  that of the held-out text
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
    of_base: bool = False
    """Whether the base answers its questions too, and those about a sample of the facts that it states unedited: what
    the base cannot answer about these, no edit can be expected to."""
    probe: str = ""
    """Name of its questions in a fact's evidence; the measure's name if empty."""
    choices: tuple[str, str] = ("", "")
    """The two possible answers of chosen questions."""
    in_conversation: bool = False
    """Whether its questions are put through the chat template, where there is one."""
    most: int | None = None
    """Maximum number of facts that are asked about; None: all, or for sampled and free answers as the spec says."""
    questions: int | str = 1
    """Maximum number of questions about one fact, or the name of the `[plan]` setting that limits it."""
    gate: Gate | None = None
    """How it is judged; its `evidence` describes what is wrong with one fact."""
    chance: float | None = None
    """The share of right answers from which on the figure means something.  The base is asked the same about facts
    that it states unedited, and a base that is no better than this cannot be judged by the measure."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", _named(self.gate, self.name))


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateMeasure:
    """One figure of the candidate as a whole."""

    name: str
    figure: Callable[[Evidence], Measure | None] | None = None
    """Computes the figure from the evidence, or None if it cannot be measured; by default the share answered right."""
    asks: Callable[[BuildSpec], Sequence[Case]] | None = None
    """Its questions.  A case with a target requires that answer; others are to be answered as by the base."""
    reads: Reads | None = None
    """What is computed from each model, stored in `Responses.readings` under the measure's name."""
    gate: Gate | None = None
    """How it is judged; its `advice` says what to do if it fails."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "gate", _named(self.gate, self.name))


def _named(gate: Gate | None, name: str) -> Gate | None:
    return gate and replace(gate, name=name)


def populations(fact: FactSpec, known: bool) -> frozenset[Population]:
    """The populations that `fact` belongs to; `known`: the base states it."""
    named: dict[Population, bool] = {
        "new": not known and not fact.in_live,
        "live": fact.in_live,
        "known": known,
        "old": fact.in_live and not known,
        "examined": fact.in_live and not known and fact.examined,
    }
    return frozenset(population for population, belongs in named.items() if belongs)
