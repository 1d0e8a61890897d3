"""Whether a run's view is still wanted: decisions may be made while it is built or waits."""

from __future__ import annotations

from kbsync.application import Application
from state.records import Fact, Run


def newly_unwanted(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts that the run would newly state although they are no longer wanted."""
    with app.state.read() as tx:
        live = tx.live()
        return tx.newly_unwanted(run.view, run.base, live.view if live else None)


def withdrawn(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts of the run's view that are no longer wanted and have no successor; live may state them too."""
    with app.state.read() as tx:
        return tx.withdrawn(run.view, run.base)
