"""`review`, `rollback`: what people decide about candidates and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from state import Transaction


def register(app: typer.Typer) -> None:
    review = typer.Typer(help="Candidates that wait for approval.", invoke_without_command=True)
    review.callback()(waiting)
    review.command("approve")(approve_run)
    review.command("reject")(reject_run)
    app.add_typer(review, name="review")
    app.command()(rollback)


def waiting(context: typer.Context, json: Json = False) -> None:
    """List candidates that wait for approval."""
    if context.invoked_subcommand is not None:
        return
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = list(tx.runs(state="awaiting_review"))
    app.close()
    if json:
        print_json(found)
        return
    print_table(
        "waiting for review",
        ("run", "view", "since", "decided by timeout at"),
        ((r.id, r.view[:12], r.updated, r.review_until) for r in found),
    )


def approve_run(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="The run's id.")],
    reason: Reason,
    actor: Actor = "operator",
    no_wait: NoWait = False,
) -> None:
    """Approve a candidate: it goes live at once."""
    from kbsync.runs import review

    def resolve(tx: Transaction) -> dict[str, int]:
        review.check_waits(tx.run(run))
        return {"run": run}

    with globals_of(context).application() as app:
        answer = have_done(app, "approve-run", resolve, reason=reason, actor=actor, no_wait=no_wait)
    if answer is not None:
        say(f"run {answer['run']}: {answer['state']} {answer['reason']}".rstrip())
        raise typer.Exit({"rejected": 10, "failed": 1, "rolled_back": 1}.get(answer["state"], 0))


def reject_run(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="The run's id.")],
    reason: Reason,
    actor: Actor = "operator",
) -> None:
    """Reject a candidate: live stays as it is."""
    from kbsync.runs import review

    app = globals_of(context).application()
    done = review.reject_run(app, run, reason, actor)
    app.close()
    say(f"run {done.id}: {done.state}")


def rollback(
    context: typer.Context,
    reason: Reason,
    checkpoint: Annotated[int | None, typer.Argument(help="Its id; default: what was live before.")] = None,
    actor: Actor = "operator",
    no_wait: NoWait = False,
) -> None:
    """Go back to a kept checkpoint, and tell the servers; what only the left one held is quarantined."""
    from kbsync.cli.deployments import say_where_it_is_served
    from kbsync.service.actions import resolve_rollback
    from kbsync.service.requests import notify_servers_unless_led

    with globals_of(context).application() as app:
        answer = have_done(
            app,
            "rollback",
            lambda tx: resolve_rollback(tx, checkpoint),
            reason=reason,
            actor=actor,
            no_wait=no_wait,
        )
        if answer is None:
            return
        say(f"live is checkpoint {answer['live']} again; checkpoint {answer['left']} was left: {reason}")
        if not notify_servers_unless_led(app):
            say("the daemon notifies the servers now: see `kbsync deployments`")
        say_where_it_is_served(app)
