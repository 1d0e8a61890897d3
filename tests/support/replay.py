"""The check that the fault tests make after every accident: log and tables say the same.

State and event are written in one transaction, so they can never disagree, whatever was killed.
"""

from __future__ import annotations

from state import State


def check(state: State) -> None:
    """The chain verifies, the tables are what the log says, and Eqn. 5 holds."""
    found = state.audit.verify_tables()
    assert found.ok, (found.reason, found.differences)
    with state.read() as tx:
        wanted = [(fact.subject, fact.relation) for fact in tx.wanted()]
    assert len(wanted) == len(set(wanted))
