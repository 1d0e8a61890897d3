"""Real processes that cost milliseconds: forked from a server that has imported everything already."""

from __future__ import annotations

from multiprocessing import get_context

FORKS = get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "state.ledger",
        "tests.support.ledger_writer",
        "tests.support.lives",
        "tests.support.forked_commands",
        "tests.support.warm_worker",
    ]
)
