"""Verifying the ledger: the log by its hashes and anchors, the tables by the log.

This runs on a schedule and before every promotion.  The result is stored in the ledger for `kbsync status` and the
metrics; a failed verification, and its recovery, are events.
"""

from __future__ import annotations

import structlog

from kbsync.application import Application
from kbsync.leadership import ACTOR, Leadership
from state.anchors import read_anchors
from state.errors import AnchorMissing, StateError
from state.records import Anchor, CheckName, Verification

log = structlog.get_logger()

ADVICE: dict[CheckName, str] = {
    "chain": "events from that number on cannot be trusted: restore a backup made before (`kbsync restore`)",
    "anchors": "the log was rewritten or cut, or restored from a backup: in the latter case keep the anchor file "
    "and start a new one; otherwise restore a backup that the anchors agree with",
    "tables": "somebody wrote to the database: see `kbsync audit verify --tables`, put the rows back as the log "
    "has them, or restore a backup (`kbsync restore`)",
}
"""What to do if a verification fails."""


def prove(app: Application, leadership: Leadership) -> str:
    """Verify the chain, every anchor and every row, and store the result; returns what is wrong, if anything."""
    anchors, unreadable = _anchors(app)
    found = app.state.audit.verify_tables(*anchors)
    leadership.renew()
    results = [(name, ok, detail) for name, ok, detail in _results(app, found, unreadable)]
    with leadership.write() as tx:
        for name, ok, detail in results:
            tx.put_check(name, ok, detail, ACTOR)
    failed = [(name, detail) for name, ok, detail in results if not ok]
    for name, detail in failed:
        log.error("check.failed", check=name, reason=detail)
    return "; ".join(detail for _, detail in failed)


def anchor(app: Application, leadership: Leadership) -> None:
    """Append the log's head to the configured anchor file, unless the file and the log disagree."""
    path = app.settings.state.anchor
    if path is None:
        return
    try:
        app.state.audit.write_anchor(path)
    except StateError as error:
        log.error("check.failed", check="anchors", reason=str(error))
        with leadership.write() as tx:
            tx.put_check("anchors", False, str(error), ACTOR)


def _anchors(app: Application) -> tuple[tuple[Anchor, ...], str]:
    """The anchors of the configured file, and why it cannot be read; none if it does not exist yet."""
    path = app.settings.state.anchor
    if path is None:
        return (), ""
    try:
        return read_anchors(path), ""
    except AnchorMissing:
        return (), ""
    except StateError as error:
        return (), str(error)


def _results(app: Application, found: Verification, unreadable: str) -> list[tuple[CheckName, bool, str]]:
    """The current result of each verification; after one that failed, the later ones are unknown."""
    results: list[tuple[CheckName, bool, str]] = []
    if found.failed == "chain":
        return [("chain", False, f"event {found.first_bad}: {found.reason}; {ADVICE['chain']}")]
    results.append(("chain", True, f"{found.count} events"))
    if unreadable or found.failed == "anchors":
        results.append(("anchors", False, f"{unreadable or found.reason}; {ADVICE['anchors']}"))
    elif app.settings.state.anchor is not None:
        results.append(("anchors", True, str(app.settings.state.anchor)))
    if found.failed == "tables":
        results.append(("tables", False, f"{found.reason}; {ADVICE['tables']}"))
    elif found.failed is None:
        results.append(("tables", True, f"{found.count} events"))
    return results
