"""Whether a run's view is still wanted: decisions may be made while it is built or waits."""

from __future__ import annotations

from kbsync.application import Application
from state.records import Fact, Run


def newly_unwanted(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts because of which the run must not go live: it would newly state them, and they are no longer wanted."""
    with app.state.read() as tx:
        return tx.not_promotable(run.view, run.base, tx.live())


def withdrawn(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts of the run's view that are no longer wanted and have no successor; live may state them too."""
    with app.state.read() as tx:
        return tx.withdrawn(run.view, run.base)
