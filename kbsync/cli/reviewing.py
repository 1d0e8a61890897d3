"""`review`, `rollback`: what people decide about candidates and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.approvals import Approvals
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
    with globals_of(context).ledger() as app, app.state.read() as tx:
        found = list(tx.runs(state="awaiting_review"))
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
    json: Json = False,
) -> None:
    """Approve a candidate: it goes live at once, or after others have approved it (`[review] approvals`)."""
    from kbsync.runs import review

    def resolve(tx: Transaction) -> dict[str, Any]:
        return review.candidate_of(tx, run)

    with globals_of(context).application() as app:
        if _waits_for_others(review.give_approval(app, run, reason, actor), f"run {run}", json):
            return
        answer = have_done(
            app, "approve-run", resolve, reason=reason, actor=actor, no_wait=no_wait, json=json
        )
    if answer is not None:
        if json:
            print_json(answer)
        else:
            say(f"run {answer['run']}: {answer['state']} {answer['reason']}".rstrip())
        raise typer.Exit({"rejected": 10, "failed": 1, "rolled_back": 1}.get(answer["state"], 0))


def reject_run(
    context: typer.Context,
    run: Annotated[int, typer.Argument(help="The run's id.")],
    reason: Reason,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Reject a candidate: live stays as it is."""
    from kbsync.runs import review

    with globals_of(context).application() as app:
        done = review.reject_run(app, run, reason, actor)
    if json:
        print_json({"run": done.id, "state": done.state, "reason": done.reason})
    else:
        say(f"run {done.id}: {done.state}")


def rollback(
    context: typer.Context,
    reason: Reason,
    checkpoint: Annotated[int | None, typer.Argument(help="Its id; default: what was live before.")] = None,
    actor: Actor = "operator",
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Go back to a checkpoint that was live before, and notify the servers.

    What only the checkpoint that is left held waits for a reviewer, and what it had replaced is wanted
    again. What was retracted, rejected, quarantined or removed since stays out and is listed: a checkpoint
    that states it does not go live again; one without it is built from the cache instead.
    """
    from kbsync.cli.deployments import say_where_it_is_served
    from kbsync.runs import review
    from kbsync.service.actions import resolve_rollback
    from kbsync.service.requests import notify_servers_unless_led

    with globals_of(context).application() as app:
        given = review.give_approval_of_rollback(app, checkpoint, reason, actor)
        if _waits_for_others(given, "the rollback", json):
            return
        answer = have_done(
            app,
            "rollback",
            lambda tx: resolve_rollback(tx, checkpoint),
            reason=reason,
            actor=actor,
            no_wait=no_wait,
            json=json,
        )
        if answer is None:
            return
        with app.state.read() as tx:
            out = tx.facts(ids=answer["out"])
        if json:
            print_json({**answer, "out": out})
        for fact in out:
            say(
                f"stays out: fact {fact.id} ({fact.subject_label}, {fact.relation}, {fact.target}) "
                f"is {fact.status}: {fact.reason}"
            )
        say(_where_it_went(answer, reason))
        if not notify_servers_unless_led(app):
            say("the daemon notifies the servers now: see `kbsync deployments`")
        say_where_it_is_served(app)
    state = str((answer["run"] or {}).get("state", ""))
    raise typer.Exit({"rejected": 10, "failed": 1, "rolled_back": 1}.get(state, 0))


def _waits_for_others(given: Approvals, what: str, json: bool) -> bool:
    """Say that others have to approve as well, if they have to."""
    if given.missing:
        print_json({"approvals": given}) if json else say(f"{what} is {given}")
    return given.missing > 0


def _where_it_went(answer: dict[str, Any], reason: str) -> str:
    """What is live after a rollback, in a sentence."""
    left, live, to, run = answer["left"], answer["live"], answer["to"], answer["run"]
    if live == to:
        return f"live is checkpoint {live} again; checkpoint {left} was left: {reason}"
    because = f"checkpoint {to} states what was withdrawn since"
    if live != left:
        return f"{because}: live is checkpoint {live}, built without it; checkpoint {left} was left: {reason}"
    if run is not None:
        return f"{because}: run {run['run']} builds without it and is {run['state']}; live stays checkpoint {left}"
    return f"{because}, and without it there is nothing to go back to: live stays checkpoint {left}"
