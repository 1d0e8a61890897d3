"""Good candidates: honest edits of facts that the model can take, of different views, sizes, seeds and settings."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from benchmarks.gates_world import Exam, Outcome
from editing.spec import BuildReport, FactSpec

SIZES = (1, 2, 3, 5, 8, 12, 16)
SEEDS = 2
"""Number of different seeds of the edits; a further one costs the optimisation of every fact."""


@dataclass(frozen=True, slots=True)
class Good:
    """An honest candidate."""

    number: int

    def judged(self, exam: Exam) -> Outcome:
        """Build and judge it in one round, as a run does."""
        able, choice = editable(exam), random.Random(self.number)
        new = choice.sample(able, min(SIZES[self.number % len(SIZES)], len(able)))
        old = exam.old if self.number % 4 else choice.sample(exam.old, len(exam.old) // 2)
        settings = replace(
            exam.spec.settings,
            seed=self.number % SEEDS,
            lam=(exam.spec.settings.lam or 1.0) * (1.0, 1.2, 1.5)[self.number % 3],
        )
        return exam.build([*exam.known, *self._old(old), *new], settings=settings, **self._live)

    @property
    def _live(self) -> dict[str, None]:
        """Every fourth one is the first candidate of its home."""
        return {} if self.number % 4 else {"live": None}

    def _old(self, old: list[FactSpec] | tuple[FactSpec, ...]) -> list[FactSpec]:
        return [fact if self.number % 4 else replace(fact, in_live=False) for fact in old]


def editable(exam: Exam) -> list[FactSpec]:
    """The new facts that the run's own candidate states on every prompt that it was asked about them."""
    report = BuildReport.read(exam.report)
    good = {fact.id for fact in report.facts if fact.outcomes and all(map(all, fact.outcomes.values()))}
    return [fact for fact in exam.new if fact.id in good]
