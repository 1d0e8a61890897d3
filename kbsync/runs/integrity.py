"""Verifying the ledger: the log by its hashes and anchors, the tables by the log.

This runs on a schedule and before every promotion.  The result is stored in the ledger for `kbsync status` and the
metrics; a failed verification, and its recovery, are events.
"""

from __future__ import annotations

import structlog

from kbsync.application import Application
from kbsync.errors import KbsyncError
from kbsync.leadership import ACTOR, Leadership
from kbsync.proofs.comparing import ask, compare
from kbsync.proofs.witnesses import Witness, configured, publish
from state.errors import StateError
from state.records import Anchor, CheckName, Verification

log = structlog.get_logger()

ADVICE: dict[CheckName, str] = {
    "chain": "events from that number on cannot be trusted: restore a backup made before (`kbsync restore`)",
    "anchors": "the log was rewritten or cut, or restored from a backup: in the latter case declare that with "
    "`kbsync audit anchor --restored`, or, without a signing key, keep the anchor file and start a new one; "
    "otherwise restore a backup that the anchors agree with",
    "tables": "somebody wrote to the database: see `kbsync audit verify --tables`, put the rows back as the log "
    "has them, or restore a backup (`kbsync restore`)",
}
"""What to do if a verification fails."""


def prove(app: Application, leadership: Leadership) -> str:
    """Verify chain, tree, every witness and every row; store the result and return what is wrong, if anything."""
    kept, unreadable = _kept(app)
    found = app.state.audit.verify_tables(witnesses=kept)
    leadership.renew()
    if found.ok and not unreadable:
        found, silent = ask(app, found)
        leadership.renew()
        for name, reason in silent.items():
            log.warning("witness.failed", witness=name, reason=str(reason))
    results = [(name, ok, detail) for name, ok, detail in _results(app, found, unreadable)]
    with leadership.write() as tx:
        for name, ok, detail in results:
            tx.put_check(name, ok, detail, ACTOR)
    failed = [(name, detail) for name, ok, detail in results if not ok]
    for name, detail in failed:
        log.error("check.failed", check=name, reason=detail)
    return "; ".join(detail for _, detail in failed)


def anchor(app: Application, leadership: Leadership) -> None:
    """Add the log's head to every witness, unless a witness and the log disagree, or the log does not verify.

    The log is verified from the newest signed head on: what is signed was verified before.
    """
    witnesses = configured(app)
    if not witnesses:
        return
    try:
        found = compare(app, incremental=True).found
        wrong = "" if found.ok else f"event {found.first_bad}: {found.reason}"
    except StateError as error:
        wrong = str(error)
    for witness in () if wrong else witnesses:
        wrong = wrong or _published(app, witness)
    if wrong:
        log.error("check.failed", check="anchors", reason=wrong)
        with leadership.write() as tx:
            tx.put_check("anchors", False, wrong, ACTOR)


def _published(app: Application, witness: Witness) -> str:
    """What a witness that contradicts the log, or cannot be written to, says; one that is away is only logged."""
    try:
        publish(app, [witness])
    except StateError as error:
        return str(error)
    except KbsyncError as error:
        log.warning("witness.failed", witness=witness.name, reason=str(error), advice=error.advice)
    return ""


def _kept(app: Application) -> tuple[tuple[tuple[Anchor, ...], ...], str]:
    """What each witness keeps of the log, and why one of them cannot be read."""
    try:
        return tuple(witness.kept() for witness in configured(app)), ""
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
    elif names := [witness.name for witness in configured(app)]:
        results.append(("anchors", True, ", ".join(names)))
    if found.failed == "tables":
        results.append(("tables", False, f"{found.reason}; {ADVICE['tables']}"))
    elif found.failed is None:
        results.append(("tables", True, f"{found.count} events"))
    return results
