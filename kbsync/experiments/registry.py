"""The experiments by name; each is imported on first use, since it needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from kbsync.errors import UsageError
from kbsync.experiments.report import Findings
from kbsync.experiments.setup import Setup

Experiment = Callable[[Setup], Findings]

EXPERIMENTS: Mapping[str, str] = {
    "scaling": "scores against the number of facts edited at once (Figure 5)",
    "table": "all editors with many facts, in the measures of CounterFact and zsRE (Tables 1 and 2)",
    "categories": "relation by relation (Figure 6)",
    "mixtures": "facts of two relations together (Figures 7 and 10)",
    "ablations": "which layers, MLP or attention, λ (Figures 11 to 13)",
    "sequence": "sixty daily batches: rebuilding from the base against editing the edited model",
    "editors": "every editor's quality against its cost",
    "election": "a story: every known office gets another holder on one day",
    "stars": "a story: a specialised domain, in which constellations stars lie",
}
"""Name → what it measures; the module of that name has the function `experiment`."""


def experiment_named(name: str) -> Experiment:
    """The experiment with this name; raises UsageError for an unknown one."""
    if name not in EXPERIMENTS:
        raise UsageError(f"there is no experiment {name!r}", f"choose one of {', '.join(EXPERIMENTS)}")
    found: Experiment = import_module(f"kbsync.experiments.{name}").experiment
    return found
