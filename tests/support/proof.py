"""The invariant of all tests: `live` never points to what no passed gate report names by digest."""

from __future__ import annotations

import json
from pathlib import Path

from editing.storage import checkpoints
from kbsync.home import Home
from state import State


def proved_digests(state: State) -> set[str]:
    """Digests of candidates about which some round's report was written with every gate passed."""
    with state.read() as tx:
        reports = [json.loads(event.body) for event in tx.events(kind="run.gates")]
    return {
        report["digest"]
        for report in reports
        if report["gates"] and all(gate["passed"] for gate in report["gates"])
    }


def check_live(home: Home, state: State, *, started: bool = True) -> Path | None:
    """Raise AssertionError unless what a reader finds behind `live` is whole and proved; returns it.

    `started`: a process has run to its end since the last accident, so link and ledger agree.
    """
    with state.read() as tx:
        live = tx.live()
    name = checkpoints.read_live(home.checkpoints)
    if started:
        assert name == (live.path if live else None), f"the link names {name}, the ledger {live}"
    if name is None:
        return None
    digest = checkpoints.verify(home.checkpoints / name)
    assert digest in proved_digests(state), f"{name} is live and no passed gate report names {digest}"
    if live is not None:
        assert live.digest in proved_digests(state)
    return home.checkpoints / name
