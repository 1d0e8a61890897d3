"""Finding and proving settings: ask what the base knows, search, test, and measure the capacity.

    ask        which statements the base knows; traps are left out
    search     one hyper-parameter after the other, on the search split and, where one looks better, on the check split
    finalists  the best few, on facts that the splits leave over
    test       the chosen settings, and those in force, once, on a split that nothing was chosen on
    capacity   n → what the gates measure, until the budget is used up

No work begins that, by the pace measured so far, would not end within the budget; what is left out is listed.  Every
stage resumes: trials are kept under content keys, and their δs and statistics in the cache of all builds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from editing.calibration.capacity import Capacity, Point, capacity, curve
from editing.calibration.counterfactuals import FURTHER, Split, counterfactuals, parts_of
from editing.calibration.finalists import Finalist, decided
from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.knowledge import KnownTriples, knowledge
from editing.calibration.laboratory import Laboratory
from editing.calibration.pace import LeftOut
from editing.calibration.proof import prove
from editing.calibration.search import Seconds, SettingsSearch, SettingsTrial
from editing.calibration.statements import WordedTriple, digest
from editing.memit.preparation import chosen_layers
from editing.model.architectures import described, locate_parts
from editing.model.chat import opening
from editing.progress import Counter, Progress, silent
from editing.storage.loaded import LoadedBase

SEARCH = 0.5
"""The share of the budget that the search may use; the rest is for the test and the capacity."""


@dataclass(frozen=True)
class CalibrationPlan:
    """What to calibrate, and how long it may take."""

    base: LoadedBase
    statements: Sequence[WordedTriple]
    start: SearchPoint
    """The settings in force, from which the search begins."""
    floors: Mapping[str, float]
    """Gate → threshold."""
    cache: Path
    corpus: tuple[Path, ...] = ()
    heldout: Path | None = None
    budget: float = 1_200.0
    """Seconds."""
    seed: int = 0


@dataclass(frozen=True)
class Calibration:
    """Settings, and what proves them."""

    base: str
    facts: str
    """Digest of the statements."""
    known: KnownTriples
    splits: dict[str, Split]
    trials: tuple[SettingsTrial, ...]
    finalists: tuple[Finalist, ...]
    """The best few of them on further facts, by falling rank; none if there were none, or no time."""
    start: SearchPoint
    chosen: SearchPoint
    before: Judgement
    """The settings in force, on the test split."""
    after: Judgement
    """The chosen ones."""
    refused: SearchPoint | None
    """What the search chose, if it was worse than the settings in force on the test split: those are chosen then."""
    points: tuple[Point, ...]
    capacity: Capacity
    left_out: tuple[LeftOut, ...]
    """Work that the budget did not allow for."""
    seconds: float


def calibrate(
    plan: CalibrationPlan, *, progress: Progress = silent, clock: Seconds = time.monotonic
) -> Calibration:
    """Calibrate; raises DataError if the base knows too few of the statements, and the editor's errors."""
    began = clock()
    ends = began + plan.budget
    laboratory = Laboratory(plan.base, plan.cache, plan.corpus, plan.heldout, progress, clock)
    known, splits = asked(plan, progress)
    start, test = explicit(plan), splits["test"]
    laboratory.prepare(start)
    search = SettingsSearch(
        laboratory,
        splits["search"],
        splits["check"],
        plan.floors,
        parts=locate_parts(plan.base.model, described(start.settings)),
        talks=_talks(plan, known),
        ends=lambda: min(
            began + SEARCH * plan.budget, ends - 2 * laboratory.pace.expected(start, test.edits)
        ),
        clock=clock,
    )
    found, finalists = decided(search, search.run(start), parts_of(splits[FURTHER]))
    proof = prove(laboratory, start, found, test, plan.floors)
    order = (test, splits["check"], splits["search"], splits[FURTHER])
    points, cut = curve(laboratory, proof.chosen, order, plan.floors, ends=ends, clock=clock)
    return Calibration(
        base=plan.base.digest,
        facts=digest(plan.statements),
        known=known,
        splits=splits,
        trials=tuple(search.trials),
        finalists=tuple(finalists),
        start=start,
        chosen=proof.chosen,
        before=proof.before,
        after=proof.after,
        refused=proof.refused,
        points=tuple(points),
        capacity=capacity(points, plan.floors),
        left_out=(*search.left_out, *cut),
        seconds=clock() - began,
    )


def asked(plan: CalibrationPlan, progress: Progress = silent) -> tuple[KnownTriples, dict[str, Split]]:
    """What the base knows, and the three splits of its edits; raises DataError if it knows too little."""
    tick = Counter(progress, "ask", len(plan.statements))
    known = knowledge(
        plan.base.model,
        plan.base.tokenizer,
        plan.statements,
        described=described(plan.start.settings),
        tick=tick,
    )
    return known, counterfactuals(known.known, seed=plan.seed)


def explicit(plan: CalibrationPlan) -> SearchPoint:
    """The start of the search with the layers that an empty setting stands for."""
    settings = plan.start.settings
    parts = locate_parts(plan.base.model, described(settings))
    return replace(plan.start, settings=replace(settings, layers=chosen_layers(parts, settings)))


def _talks(plan: CalibrationPlan, known: KnownTriples) -> bool:
    return opening(plan.base.tokenizer) is not None and any(one.question for one in known.known)
