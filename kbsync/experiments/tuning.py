"""Options of the editors, found by a small search on other facts than those that are reported.

MEMIT's settings are calibrated; a rival with untried ones would lose by that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from editing.settings import EditSettings
from kbsync.experiments.scores import TrialScores, measured

LEARNING_RATES = tuple({"lr": rate} for rate in (1e-4, 5e-4, 2e-3))
GRIDS: Mapping[str, Sequence[Mapping[str, float]]] = {
    "ft_w": LEARNING_RATES,
    "locft_bf": LEARNING_RATES,
    "mend": tuple({"scale": factor} for factor in (0.5, 0.7, 1.0)),
    "memit_null_space": tuple({"threshold": share} for share in (0.02, 0.1, 0.5)),
    "one_gradient": tuple({"lr": rate} for rate in (1e-5, 1e-4, 1e-3)),
}
"""Editor → options to try; an editor that is not named here has none that need a search."""
SEED = -1
"""The seed of the facts that are searched with; experiments use 0 and up."""
QUICK, FULL = 20, 100


def tuned(settings: EditSettings, judge: Callable[[EditSettings], TrialScores]) -> EditSettings:
    """The settings with the options of the grid that give the highest S; as they are if none can be measured.

    `judge` edits the facts of the search.  Options that were given stay, and are not searched.
    """
    best, reached = settings, -1.0
    for options in GRIDS.get(settings.editor, ()):
        if options.keys() & settings.options.keys():
            return settings
        tried = replace(settings, options={**settings.options, **options})
        scores = judge(tried)
        value = None if scores.error else measured([scores]).get("S")
        if value is not None and value.value > reached:
            best, reached = tried, value.value
    return best
