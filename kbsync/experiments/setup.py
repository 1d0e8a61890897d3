"""What an experiment is run with: a bench, facts, settings, editors, seeds and a size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from editing.calibration.statements import WordedTriple
from editing.settings import EditSettings
from kbsync.experiments.cases import OBJECTS, EditCase, counterfactual_cases, editable
from kbsync.experiments.limits import in_time
from kbsync.experiments.scores import Measured, TrialScores, difference, fact_table, measured
from kbsync.experiments.tuning import FULL, QUICK, SEED, tuned

if TYPE_CHECKING:
    from kbsync.experiments.measuring import Bench, EditTrial

MEMIT = "memit"
LARGE, SPARING = 50_000_000, 12
"""A model with more parameters than this is edited with at most so many facts in a quick run, which then takes minutes
on a CPU core."""


@dataclass(frozen=True)
class Setup:
    """The same for every experiment; what each makes of it is in its own module."""

    bench: Bench
    settings: EditSettings
    """Those of the model; each editor gets them with its own name."""
    variants: int
    known: tuple[WordedTriple, ...]
    """Facts that the model knows, to be edited counterfactually; empty if `given` are edited."""
    given: tuple[EditCase, ...]
    """Facts of a data set."""
    relation_names: Mapping[str, str]
    """Relation → its name, for plots."""
    editors: tuple[str, ...]
    seeds: tuple[int, ...]
    quick: bool

    @cached_property
    def available(self) -> int:
        """How many facts can be edited at once."""
        if self.given:
            return len(self.given)
        return sum(self.editable_relations().values())

    def editable_relations(self) -> dict[str, int]:
        """Relation → facts that can be edited, most first."""
        if self.given:
            return dict(Counter(case.relation for case in self.given).most_common())
        counts = Counter(one.relation for one in self.known)
        objects = {r: {one.object for one in self.known if one.relation == r} for r in counts}
        able = {r: editable(n) for r, n in counts.most_common() if len(objects[r]) >= OBJECTS}
        return {relation: n for relation, n in able.items() if n}

    def cases(self, seed: int, most: int, relations: Collection[str] | None = None) -> tuple[EditCase, ...]:
        """Facts to edit, at most `most`; smaller sets of one seed are the beginnings of larger ones."""
        if self.given:
            chosen = [case for case in self.given if relations is None or case.relation in relations]
            return tuple(chosen[seed % max(len(chosen), 1) :] + chosen[: seed % max(len(chosen), 1)])[:most]
        return counterfactual_cases(self.known, seed=seed, most=most, relations=relations)

    @cached_property
    def sparing(self) -> bool:
        """Whether the run is quick although the model is large."""
        parameters = sum(parameter.numel() for parameter in self.bench.base.model.parameters())
        return self.quick and parameters > LARGE

    def size(self, quick: int, full: int) -> int:
        """A number of facts, as far as the data and the size of the model allow."""
        wanted = min(quick, SPARING) if self.sparing else quick if self.quick else full
        return min(wanted, self.available)

    def with_editor(self, name: str) -> EditSettings:
        """The settings of an editor, with the options that a search found (`tuning.py`)."""
        if name not in self._found:
            own = self.settings.options if name == self.settings.editor else {}
            self._found[name] = tuned(replace(self.settings, editor=name, options=own), self._judged)
        return self._found[name]

    @cached_property
    def _found(self) -> dict[str, EditSettings]:
        return {}

    def _judged(self, settings: EditSettings) -> TrialScores:
        from kbsync.experiments.measuring import EditTrial

        cases = self.cases(SEED, self.size(QUICK, FULL))
        return self.bench.scores(EditTrial("search", settings, cases, len(cases), self.variants, SEED))

    def searched(self) -> dict[str, dict[str, float]]:
        """Editor → the options that were used, for those that have any."""
        return {name: found.options for name, found in self._found.items() if found.options}

    def name(self, relation: str) -> str:
        return self.relation_names.get(relation, relation)


@dataclass(frozen=True)
class Series:
    """The trials at one place of one line, one for each seed, and their scores."""

    line: str
    at: float | str
    trials: tuple[EditTrial, ...]
    scores: tuple[TrialScores, ...]

    @property
    def error(self) -> str:
        """Why there are no scores; empty if there are."""
        return next((one.error for one in self.scores if one.error), "")

    @cached_property
    def _measures(self) -> dict[str, Measured]:
        return {} if self.error else measured(self.scores)

    def measure(self, name: str) -> Measured | None:
        """One measure with its interval; None if it does not apply, or if the editor failed."""
        return self._measures.get(name)

    def less(self, other: Series) -> Measured | None:
        """S less that of `other`, fact by fact, over the seeds that both have; None if they have none in common."""
        own, theirs = (
            {trial.seed: scores for trial, scores in zip(one.trials, one.scores, strict=True)}
            for one in (self, other)
        )
        seeds = [seed for seed in own if seed in theirs]
        if not seeds or self.error or other.error:
            return None
        return difference([own[seed] for seed in seeds], [theirs[seed] for seed in seeds])

    def entry(self) -> dict[str, Any]:
        """The series as JSON: its measures with intervals, and the scores by fact."""
        head = {
            "line": self.line,
            "at": self.at,
            "facts": [len(trial.cases) for trial in self.trials],
            "seeds": [trial.seed for trial in self.trials],
            "error": self.error or None,
        }
        return head | {
            "measures": self._measures,
            "models": [
                {
                    "perplexity_ratio": one.perplexity_ratio,
                    "kl_median": one.kl_median,
                    "kl_p99": one.kl_p99,
                    "weight_growth": one.weight_growth,
                    "lam": one.lam,
                    "seconds": one.seconds,
                    "left_out": one.left_out,
                }
                for one in self.scores
            ],
            "by_fact": [fact_table(one.facts) for one in self.scores],
        }


def run(setup: Setup, trials: Sequence[EditTrial]) -> list[Series]:
    """Measure the trials, and join those that differ in their seed only, in the order of their first.

    Seeds for which the time did not suffice are left out, if there are others.
    """
    scores = setup.bench.run(trials)
    joined: dict[tuple[str, float | str], list[tuple[EditTrial, TrialScores]]] = {}
    for trial, found in zip(trials, scores, strict=True):
        joined.setdefault((trial.line, trial.at), []).append((trial, found))
    series = []
    for (line, at), pairs in joined.items():
        own = in_time(pairs, lambda pair: pair[1].error)
        series.append(Series(line, at, tuple(t for t, _ in own), tuple(s for _, s in own)))
    return series
