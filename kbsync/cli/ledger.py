"""`status`, `facts`, `edits`, `runs`, `checkpoints`: what the ledger knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from state.records import Fact


def register(app: typer.Typer) -> None:
    for command in (status, facts, edits, runs):
        app.command()(command)
    group = typer.Typer(help="Checkpoints: list, pin, release.", invoke_without_command=True)
    group.callback()(checkpoints)
    group.command("pin")(pin)
    group.command("release")(release)
    app.add_typer(group, name="checkpoints")


def status(context: typer.Context, json: Json = False) -> None:
    """Show in one page what is live, what is pending and how the sources stand."""
    from kbsync.queries.status import overview

    app = globals_of(context).ledger()
    seen = overview(app)
    app.close()
    if json:
        print_json(seen)
        return
    print_table("status", ("what", "how"), ((key, value) for key, value in seen.lines()))


def facts(
    context: typer.Context,
    status: Annotated[
        str | None, typer.Option(help="held, quarantined, wanted, retracted or superseded.")
    ] = None,
    relation: Annotated[str | None, typer.Option(help="Only this relation.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this subject (its id).")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    json: Json = False,
) -> None:
    """List facts: what is wanted, held back or gone, and why."""
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = tx.facts(status=status, relation=relation, subject=subject, limit=limit)  # type: ignore[arg-type]
    app.close()
    _print_facts("facts", found, json)


def edits(context: typer.Context, json: Json = False) -> None:
    """List the facts that live was edited with: those of its view that the base does not know."""
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        live = tx.live()
        view = tx.view_facts(live.view) if live else ()
        answers = tx.base_answers(live.base, [fact.id for fact in view]) if live else {}
    app.close()
    _print_facts("edits in live", [f for f in view if not answers.get(f.id, (False, ""))[0]], json)


def _print_facts(title: str, found: Any, json: bool) -> None:
    if json:
        print_json(found)
        return
    print_table(
        title,
        ("id", "subject", "relation", "object", "status", "reason", "source", "revision"),
        (
            (f.id, f.subject_label, f.relation, f.target, f.status, f.reason, f.source, f.revision)
            for f in _typed(found)
        ),
    )


def _typed(found: Any) -> list[Fact]:
    return list(found)


def runs(
    context: typer.Context,
    run: Annotated[int | None, typer.Argument(help="Show one run with its gates.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """List runs, or show one with its gates."""
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = [tx.run(run)] if run is not None else list(tx.runs(limit=limit))
        results = list(tx.gate_results(run)) if run is not None else []
    app.close()
    if json:
        print_json({"run": found[0], "gates": results} if run is not None else found)
        return
    print_table(
        "runs",
        ("id", "state", "round", "view", "trigger", "reason", "updated"),
        ((r.id, r.state, r.round, r.view[:12], r.trigger, r.reason, r.updated) for r in found),
    )
    if run is not None:
        print_table(
            "gates",
            ("round", "gate", "value", "bound", "threshold", "n", "passed", "detail"),
            ((g.round, g.name, g.value, g.bound, g.threshold, g.n, g.passed, g.detail) for g in results),
        )


def checkpoints(context: typer.Context, json: Json = False) -> None:
    """List checkpoints: which is live, which can be rolled back to."""
    if context.invoked_subcommand is not None:
        return
    app = globals_of(context).ledger()
    with app.state.read() as tx:
        found = list(tx.checkpoints())
    app.close()
    if json:
        print_json(found)
        return
    print_table(
        "checkpoints",
        ("id", "status", "run", "view", "path", "pinned", "blocked", "promoted"),
        ((c.id, c.status, c.run, c.view[:12], c.path, c.pinned, c.blocked, c.promoted) for c in found),
    )


def pin(
    context: typer.Context,
    checkpoint: Annotated[int, typer.Argument(help="Its id.")],
    reason: Reason,
    off: Annotated[bool, typer.Option("--off", help="Unpin instead.")] = False,
    actor: Actor = "operator",
) -> None:
    """Keep a checkpoint for ever (or no longer, with --off)."""
    app = globals_of(context).ledger()
    with app.state.write() as tx:
        (tx.unpin if off else tx.pin)(checkpoint, reason, actor)
    app.close()
    say(f"checkpoint {checkpoint} is {'no longer ' if off else ''}pinned")


def release(
    context: typer.Context,
    checkpoint: Annotated[int, typer.Argument(help="Its id.")],
    reason: Reason,
    actor: Actor = "operator",
) -> None:
    """Allow a rolled-back view to be promoted again."""
    app = globals_of(context).ledger()
    with app.state.write() as tx:
        blocked = tx.checkpoint(checkpoint)
        released = tx.release_view(blocked.view, reason, actor)
    app.close()
    if released:
        say(f"the view of checkpoint {checkpoint} may be promoted again")
    else:
        say(f"the view of checkpoint {checkpoint} was not blocked: nothing to do")
