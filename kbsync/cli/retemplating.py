"""`retemplate`: wanted facts move to the templates that their relations have now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.intake.retemplate import OutdatedTemplate
    from state import Transaction


def register(app: typer.Typer) -> None:
    app.command()(retemplate)


def retemplate(
    context: typer.Context,
    reason: Reason,
    relation: Annotated[str | None, typer.Argument(help="Only this relation.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking, once the cost is shown.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the cost and do nothing.")] = False,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Move wanted facts to the templates that their relations have now, and build them.

    New facts use a corrected template at once; facts that are already wanted keep the prompt they were made with
    until they are moved. Shows which facts move and what optimising them again costs, and asks first.
    """
    with globals_of(context).application() as app:
        found, answer = _cost(app, relation, reason, actor)
        if not json:
            _show(found, answer)
        if not found or dry_run:
            if json:
                print_json({"relations": found, **answer, "report": None})
            return
        if not yes:
            typer.confirm(f"move {answer['moved']} facts and build them now?", abort=True, err=True)
        _act(app, "retemplate", {"relation": relation, "rehearse": False}, reason, actor)
        say(f"{answer['moved']} facts were moved; now they are built")
        report = _act(app, "sync", {"bootstrap": False}, reason, actor)
    from kbsync.cli.syncing import exit_code, show
    from kbsync.service.actions import REPORTS

    done = REPORTS.validate_python(report)
    if json:
        print_json({"relations": found, **answer, "report": done})
    else:
        show(done)
    raise typer.Exit(exit_code(done))


def _cost(
    app: Application, relation: str | None, reason: str, actor: str
) -> tuple[list[OutdatedTemplate], dict[str, Any]]:
    """What would move, and what that takes; the worker is asked only where something would."""
    from kbsync.intake.retemplate import outdated

    if relation is not None:
        app.catalogue.named(relation)
    with app.state.read() as tx:
        found = outdated(tx, app.catalogue, relation)
    if not found:
        return [], {"moved": 0, "preflight": None}
    return found, _act(app, "retemplate", {"relation": relation, "rehearse": True}, reason, actor)


def _act(app: Application, action: str, arguments: dict[str, Any], reason: str, actor: str) -> dict[str, Any]:
    def resolve(tx: Transaction) -> dict[str, Any]:
        return arguments

    answer = have_done(app, action, resolve, reason=reason, actor=actor)
    assert answer is not None  # it was waited for
    return answer


def _show(found: list[OutdatedTemplate], answer: dict[str, Any]) -> None:
    from editing.preflight import Preflight

    print_table(
        "wanted facts with an older template",
        ("relation", "facts", "made with", "would be moved to"),
        ((one.relation, one.facts, one.template, one.now) for one in found),
        empty="none: every wanted fact has its relation's template",
    )
    if answer["preflight"]:
        for what, how in Preflight(**answer["preflight"]).lines():
            say(f"{what}: {how}")
