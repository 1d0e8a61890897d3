"""`doctor`: what works, what does not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table

if TYPE_CHECKING:
    from kbsync.queries.doctor import Finding

STATES = {"ok": "ok", "later": "not now", "wrong": "WRONG"}


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(context: typer.Context, json: Json = False) -> None:
    """Check everything that kbsync depends on, and ask every source and server once; nothing is changed.

    Settings, home, disk, base model, ledger, the live link, deploy hooks and sources.  Ends with 78 if
    something has to be changed, with 75 if something does not answer now, else with 0.
    """
    from kbsync.queries.doctor import examine, exit_code

    with globals_of(context).application() as app:
        findings = examine(app)
    if json:
        print_json({"findings": findings, "exit": exit_code(findings)})
    else:
        print_findings("doctor", findings)
    raise typer.Exit(exit_code(findings))


def print_findings(title: str, findings: tuple[Finding, ...]) -> None:
    """What was looked at, a line each."""
    rows = ((one.what, STATES[one.verdict], one.detail, one.advice) for one in findings)
    print_table(title, ("what", "state", "found", "what to do"), rows)
