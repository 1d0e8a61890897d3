"""Finding and proving settings: ask what the base knows, search, choose, test, and measure the capacity.

    ask        which statements the base knows; traps are left out
    search     one hyper-parameter after the other, on the search split, for `SEARCH` of the budget
    check      the best three of them, on the check split: the settings are chosen here
    test       the chosen settings, and those before, once, on a split that nothing was chosen on
    capacity   n → what the gates measure, until the budget is used up

Every stage resumes: trials are kept under content keys, and their δs and statistics in the cache of all builds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from editing.calibration.capacity import Capacity, Point, capacity, curve
from editing.calibration.counterfactuals import Split, counterfactuals
from editing.calibration.judgement import Judgement, SearchPoint, rank
from editing.calibration.knowledge import KnownTriples, knowledge
from editing.calibration.laboratory import Laboratory
from editing.calibration.search import Seconds, SettingsSearch, SettingsTrial
from editing.calibration.statements import WordedTriple, digest
from editing.memit.preparation import chosen_layers
from editing.model.architectures import described, locate_parts
from editing.model.chat import opening
from editing.progress import Counter, Progress, silent
from editing.storage.loaded import LoadedBase

SEARCH = 0.5
"""The share of the budget after which no further trial of the search begins."""
FINALISTS = 3


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
    finalists: tuple[tuple[SearchPoint, Judgement], ...]
    """The candidates that were compared on the check split, the chosen one first."""
    start: SearchPoint
    chosen: SearchPoint
    before: Judgement | None
    """The settings that were in force, on the test split; None if there was no time left."""
    after: Judgement
    points: tuple[Point, ...]
    capacity: Capacity
    out_of_time: tuple[str, ...]
    """Stages that the budget cut short."""
    seconds: float


def calibrate(
    plan: CalibrationPlan, *, progress: Progress = silent, clock: Seconds = time.monotonic
) -> Calibration:
    """Calibrate; raises DataError if the base knows too few of the statements, and the editor's errors."""
    began = clock()
    ends = began + plan.budget
    laboratory = Laboratory(plan.base, plan.cache, plan.corpus, plan.heldout, progress)
    known, splits = _known(plan, progress)
    start = _explicit(plan)
    search = SettingsSearch(
        laboratory,
        splits["search"],
        plan.floors,
        parts=locate_parts(plan.base.model, described(start.settings)),
        talks=_talks(plan, known),
        ends=began + SEARCH * plan.budget,
        clock=clock,
    )
    search.run(start)
    finalists = _check(laboratory, splits["check"], search, plan.floors)
    chosen, _ = finalists[0]
    test = splits["test"]
    after = laboratory.judged(chosen, test.edits, test.untouched)
    progress("test", 1, 2)
    before = _before(laboratory, start, test, clock() < ends)
    progress("test", 2, 2)
    order = (test, splits["check"], splits["search"])
    points, cut = curve(laboratory, chosen, order, ends=ends, clock=clock)
    late = [
        ("search", search.out_of_time),
        ("the settings before, on the test split", before is None),
        ("capacity", cut),
    ]
    return Calibration(
        base=plan.base.digest,
        facts=digest(plan.statements),
        known=known,
        splits=splits,
        trials=tuple(search.trials),
        finalists=tuple(finalists),
        start=start,
        chosen=chosen,
        before=before,
        after=after,
        points=tuple(points),
        capacity=capacity(points, plan.floors),
        out_of_time=tuple(stage for stage, short in late if short),
        seconds=clock() - began,
    )


def _known(plan: CalibrationPlan, progress: Progress) -> tuple[KnownTriples, dict[str, Split]]:
    tick = Counter(progress, "ask", len(plan.statements))
    known = knowledge(
        plan.base.model,
        plan.base.tokenizer,
        plan.statements,
        described=described(plan.start.settings),
        tick=tick,
    )
    return known, counterfactuals(known.known, seed=plan.seed)


def _explicit(plan: CalibrationPlan) -> SearchPoint:
    """The start with the layers that an empty setting stands for."""
    settings = plan.start.settings
    parts = locate_parts(plan.base.model, described(settings))
    return replace(plan.start, settings=replace(settings, layers=chosen_layers(parts, settings)))


def _talks(plan: CalibrationPlan, known: KnownTriples) -> bool:
    return opening(plan.base.tokenizer) is not None and any(one.question for one in known.known)


def _check(
    laboratory: Laboratory, split: Split, search: SettingsSearch, floors: Mapping[str, float]
) -> list[tuple[SearchPoint, Judgement]]:
    """The finalists on the check split, best first; on equal rank, the one that the search preferred."""
    found = []
    candidates = search.best(FINALISTS)
    for number, candidate in enumerate(candidates):
        found.append((candidate, laboratory.judged(candidate, split.edits, split.untouched)))
        laboratory.progress("check", number + 1, len(candidates))
    return sorted(found, key=lambda pair: -rank(pair[1], floors))


def _before(laboratory: Laboratory, start: SearchPoint, test: Split, in_time: bool) -> Judgement | None:
    """The settings that were in force, on the test split, if it costs no time or there is some left."""
    if in_time or laboratory.is_known(start, test.edits, test.untouched):
        return laboratory.judged(start, test.edits, test.untouched)
    return None
