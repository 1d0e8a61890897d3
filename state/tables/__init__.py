"""The ledger's tables, as SQLModel classes; importing this package registers all of them.

What the sources stated is in `sources` and `slots`, what is wanted in `facts`, what is built in `runs` and
`checkpoints`, what happened in `audit`, and what keeps the daemon going in `operation`.  The rest of `state`
works on the Core tables behind these classes (`table(Facts)`): batches of thousands of rows do not pass
through mapped objects.

States are strings with a CHECK, so that a database browser shows words and a new state is a migration.
Ids are given out by the writer (writers take turns, see `database.py`), never by sequences, so they are
dense and a bulk insert knows them beforehand.
"""

from __future__ import annotations

from state.tables.audit import Events, Subtrees
from state.tables.base import LedgerTable, table
from state.tables.checkpoints import BlockedViews, Checkpoints, Deployments
from state.tables.facts import BaseAnswers, Facts, Probes, ViewFacts, Views
from state.tables.operation import Checks, Leases, Ledger, Pauses, Requests, Tokens
from state.tables.runs import Attempts, GateResults, Rounds, Runs
from state.tables.slots import Renderings, Slots
from state.tables.sources import Cursors, Entities, Forgotten, Merges, Observations, Readings, Sources

__all__ = [
    "Attempts",
    "BaseAnswers",
    "BlockedViews",
    "Checkpoints",
    "Checks",
    "Cursors",
    "Deployments",
    "Entities",
    "Events",
    "Facts",
    "Forgotten",
    "GateResults",
    "Leases",
    "Ledger",
    "LedgerTable",
    "Merges",
    "Observations",
    "Pauses",
    "Probes",
    "Readings",
    "Renderings",
    "Requests",
    "Rounds",
    "Runs",
    "Slots",
    "Sources",
    "Subtrees",
    "Tokens",
    "ViewFacts",
    "Views",
    "table",
]
