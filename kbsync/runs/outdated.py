"""Whether a run's view is still wanted, and its candidate there: much may happen while it is built or waits."""

from __future__ import annotations

from kbsync.application import Application
from state import Snapshot
from state.records import Fact, Run


def newly_unwanted(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts because of which the run must not go live: it would newly state them, and they are no longer wanted."""
    with app.state.read() as tx:
        return tx.not_promotable(run.view, run.base, tx.live())


def withdrawn(app: Application, run: Run) -> tuple[Fact, ...]:
    """Facts of the run's view that are no longer wanted and have no successor; live may state them too."""
    with app.state.read() as tx:
        return tx.withdrawn(run.view, run.base)


def withdrawn_by_a_person(tx: Snapshot) -> bool:
    """Whether live states something that a person has withdrawn, and that has no successor."""
    live = tx.live()
    return live is not None and any(fact.decision for fact in tx.withdrawn(live.view, live.base))


def what_is_left(tx: Snapshot, run: Run, bad: set[int]) -> list[Fact]:
    """The facts of the run's view except the `bad` ones, as far as they are wanted.

    What an operator retracted while the candidate was built stays out.  Live's value stays, even if it has a
    successor, if an earlier round put that successor aside.
    """
    live = tx.live()
    stated = {fact.id for fact in tx.view_facts(live.view)} if live else set()
    return [
        fact
        for fact in tx.view_facts(run.view)
        if fact.id not in bad
        and (fact.status == "wanted" or (fact.status == "superseded" and fact.id in stated))
    ]


def why_lost(app: Application, run: Run) -> str:
    """That the directory of the run's candidate was deleted; empty if it is there."""
    assert run.checkpoint is not None, "a run that waits for review has a candidate"
    with app.state.read() as tx:
        candidate = tx.checkpoint(run.checkpoint)
    return (
        "" if app.home.checkpoint(candidate.path).is_dir() else "the directory of its checkpoint is missing"
    )
