"""`quarantine`, `review`, `rollback`, `retract`: what people decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.intake.pull import Intake
    from state import Transaction


def register(app: typer.Typer) -> None:
    quarantine = typer.Typer(help="Facts held back for a person to decide.", invoke_without_command=True)
    quarantine.callback()(quarantined)
    quarantine.command("approve")(approve)
    quarantine.command("reject")(reject)
    app.add_typer(quarantine, name="quarantine")
    review = typer.Typer(help="Candidates that wait for approval.", invoke_without_command=True)
    review.callback()(waiting)
    review.command("approve")(approve_run)
    review.command("reject")(reject_run)
    app.add_typer(review, name="review")
    app.command()(rollback)
    app.command()(retract)


Actor = Annotated[str, typer.Option(help="Who decides; goes into the audit log.", envvar="USER")]


def quarantined(context: typer.Context, json: Json = False) -> None:
    """List quarantined facts with the reason each is held back for."""
    if context.invoked_subcommand is not None:
        return
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = [fact for fact in tx.facts(status="quarantined") if fact.decision != "rejected"]
    app.close()
    if json:
        print_json(found)
        return
    print_table(
        "quarantine",
        ("id", "subject", "relation", "object", "reason"),
        ((f.id, f.subject_label, f.relation, f.target, f.reason) for f in found),
    )


def approve(
    context: typer.Context,
    fact: Annotated[int, typer.Argument(help="Its id.")],
    reason: Reason,
    actor: Actor = "operator",
) -> None:
    """Let a quarantined fact pass admission; the next cycle edits it in."""
    from kbsync.intake import quarantine

    _decide(context, quarantine.approve, fact, reason, actor)


def reject(
    context: typer.Context,
    fact: Annotated[int, typer.Argument(help="Its id.")],
    reason: Reason,
    actor: Actor = "operator",
) -> None:
    """Decide that a quarantined fact is never edited in, however often the source states it."""
    from kbsync.intake import quarantine

    _decide(context, quarantine.reject, fact, reason, actor)


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


def retract(
    context: typer.Context,
    fact: Annotated[int, typer.Argument(help="Its id.")],
    reason: Reason,
    actor: Actor = "operator",
) -> None:
    """Want a fact no more: the next cycle rebuilds without it, which un-edits it exactly."""
    from kbsync.intake import quarantine

    _decide(context, quarantine.reject, fact, reason, actor)


def _decide(
    context: typer.Context,
    decision: Callable[[Intake, int, str, str], object],
    fact: int,
    reason: str,
    actor: str,
) -> None:
    """Carry out what a person decided about a fact, and say how it stands afterwards."""
    app = globals_of(context).application()
    decision(app.intake(), fact, reason, actor)
    with app.state.read() as tx:
        now = tx.fact(fact)
    app.close()
    say(f"fact {now.id} ({now.subject_label}, {now.relation}, {now.target}) is {now.status}: {now.reason}")
