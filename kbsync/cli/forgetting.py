"""`forget`: a person, or any other subject, is erased from the ledger, the audit log and the home."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from state import Transaction


def register(app: typer.Typer) -> None:
    app.command()(forget)
    app.command()(forgotten)
    app.command()(release)


@dataclass(frozen=True, slots=True)
class How:
    """Whether it is asked for, done or only shown, and whether the command waits."""

    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be erased; do nothing.")] = False
    no_wait: NoWait = False


@grouped
def forget(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(help="Its id, such as wd:Q42.")],
    reason: Reason,
    how: How,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Erase a person, or any other subject: facts, statements, files, and the words in the audit log.

    The model is built again without them, and they are not learnt again until `kbsync release`. The log still
    verifies. This cannot be undone; backups that were made before are not touched.
    """
    with globals_of(context).application() as app:
        from kbsync.service.forgetting import check_known, check_reason, preview

        shown = preview(app, subject)
        if how.dry_run and json:
            print_json(shown)
        elif not json:
            _show(shown)
        if how.dry_run:
            return
        if not how.yes:
            typer.confirm(f"erase everything about {subject}? This cannot be undone", abort=True, err=True)

        def resolve(tx: Transaction) -> dict[str, Any]:
            check_known(tx, subject)
            check_reason(tx.names_of(subject)[0], reason)
            return {"subject": subject}

        answer = have_done(
            app, "forget-subject", resolve, reason=reason, actor=actor, no_wait=how.no_wait, json=json
        )
    if answer is None:
        return
    if json:
        print_json(answer)
    else:
        _report(answer)
    raise typer.Exit(10 if answer["serves"] else 0)


def forgotten(context: typer.Context, json: Json = False) -> None:
    """List what was forgotten: by number, for the names are gone."""
    with globals_of(context).ledger() as app, app.state.read() as tx:
        found = tx.forgotten_subjects()
    if json:
        shown = [
            {
                "number": f.number,
                "since": f.since,
                "reason": f.reason,
                "actor": f.actor,
                "released": f.released,
            }
            for f in found
        ]
        print_json(shown)
        return
    print_table(
        "forgotten",
        ("number", "since", "reason", "actor", "released"),
        ((one.number, one.since, one.reason, one.actor, one.released) for one in found),
        empty="nothing was forgotten",
    )


def release(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Its number, as `kbsync forgotten` shows it.")],
    reason: Reason,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Let a subject that was forgotten be learnt again, once a source states something of it."""
    from kbsync.service import forgotten_file

    with globals_of(context).ledger() as app:
        with app.state.write() as tx:
            found = tx.release_forgotten(number, reason, actor)
        forgotten_file.write(app)
    if json:
        print_json({"number": found.number, "released": found.released})
    else:
        say(f"number {number} may be learnt again")


def _show(shown: dict[str, Any]) -> None:
    say(f"{shown['subject']} is called: {', '.join(shown['names'])}")
    if shown["shared"]:
        say(f"{shown['shared']} further names belong to something else too: they stay where that is meant")
    say(f"{len(shown['facts'])} facts and {len(shown['files'])} files would be erased")
    if shown["checkpoints"]:
        say(f"checkpoints built with it: {', '.join(map(str, shown['checkpoints']))}")
    if shown["rebuild"]:
        say("live is one of them: it is built again without it")


def _report(answer: dict[str, Any]) -> None:
    say(f"forgotten, as number {answer['number']}")
    if "facts" in answer:
        say(
            f"erased: {answer['facts']} facts, {answer['observations']} observations, the words of "
            f"{answer['events']} events, {answer['files']} files"
        )
        for path in answer["left"]:
            say(f"still named in {path}: not written by a run, so look at it yourself")
    if answer["run"]:
        say(f"run {answer['run']['run']} without it: {answer['run']['state']} {answer['run']['reason']}")
    if answer["serves"]:
        say("live was built with it, and is served until a checkpoint without it passes the gates")
