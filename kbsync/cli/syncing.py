"""`sync`, `run`, `pause`, `resume`, `dry-run`: making the model current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, Reason, globals_of
from kbsync.console import plain, print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.service.cycle import CycleReport


def register(app: typer.Typer) -> None:
    for command in (sync, run, pause, resume):
        app.command()(command)
    app.command("dry-run")(dry_run)


def sync(
    context: typer.Context,
    bootstrap: Annotated[
        bool,
        typer.Option(
            help="First import: values older than the settle window are settled, no volume breaker."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Run one cycle now: pull, admit, build, judge, promote."""
    from kbsync.console import live_progress
    from kbsync.service.cycle import cycle

    app = globals_of(context).application()
    try:
        with app.leading() as leadership, live_progress() as progress:
            report = cycle(
                app, leadership, trigger="kbsync sync", asked=True, bootstrap=bootstrap, progress=progress
            )
    finally:
        app.close()
    if json:
        print_json(report)
    else:
        show(report)
    raise typer.Exit(exit_code(report))


def exit_code(report: CycleReport) -> int:
    """10 where a gate rejected, 1 where a run failed, 75 where a source or a server could not be reached."""
    states = {run.state for run in report.runs}
    if "rejected" in states:
        return 10
    if states & {"failed", "rolled_back"}:
        return 1
    return 75 if report.unavailable or "promoted" in states else 0


def show(report: CycleReport) -> None:
    """The cycle for people."""
    for source, intake in report.intake.items():
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(intake.verdicts.items()))
        if intake.observations or counts:
            say(f"{source}: {intake.observations} slots read{f': {counts}' if counts else ''}")
        for relation, slots in sorted(intake.unlisted.items()):
            say(
                f"{source}: {slots} slots of {relation} wait until the relation has a label and templates: "
                f'add [relations."{relation}"] to the settings'
            )
        if intake.tripped:
            say(
                f"{source}: the volume breaker tripped: more facts than [policy] max_accepted in one cycle; "
                "a first import is `kbsync sync --bootstrap`"
            )
    for source, reason in report.unavailable.items():
        say(f"{source}: not read: {reason}")
    for done in report.runs:
        waits = (
            "; it waits for its deploy hooks: see `kbsync deployments`" if done.state == "promoted" else ""
        )
        say(f"run {done.id}: {done.state}{f' ({done.reason})' if done.reason else ''}{waits}")
    if report.nothing:
        say(f"no new run: {report.nothing}")


def run(context: typer.Context) -> None:
    """Run the daemon: sync on schedule until SIGTERM."""
    from kbsync.service.daemon import Daemon

    app = globals_of(context).application()
    try:
        Daemon(app).run()
    finally:
        app.close()


def pause(context: typer.Context, reason: Reason) -> None:
    """Let the daemon start no cycle until `resume`; a cycle at work is finished."""
    app = globals_of(context).ledger()
    with app.state.write() as tx:
        tx.pause(reason, "operator")
    say("paused")


def resume(context: typer.Context) -> None:
    """Let the daemon work again."""
    app = globals_of(context).ledger()
    with app.state.write() as tx:
        tx.resume("operator")
    say("resumed")


def dry_run(context: typer.Context, json: Json = False) -> None:
    """Show what the next run would build and what that would take, without pulling or building."""
    from kbsync.runs.planning import NothingToDo
    from kbsync.runs.questions import forecast
    from kbsync.runs.starting import plan

    app = globals_of(context).application()
    with (
        app.leading() as leadership,
        app.executor(alive=leadership.renew).worker(app.home.worker_log) as worker,
    ):
        planned = plan(app, leadership, worker, asked=True)
        expected = None if isinstance(planned, NothingToDo) else forecast(app, worker, planned)
    app.close()
    if json:
        print_json({**plain(planned), "preflight": expected})
    elif isinstance(planned, NothingToDo):
        say(f"nothing to do: {planned.reason}")
    else:
        rows = [("edit", f) for f in planned.new] + [("un-edit", f) for f in planned.removed]
        rows += [("wait", f) for f in planned.waiting]
        print_table(
            f"a run would build a view of {len(planned.facts)} facts ({len(planned.known)} known)",
            ("what", "fact", "subject", "relation", "object"),
            ((what, f.id, f.subject_label, f.relation, f.target) for what, f in rows),
        )
        for what, how in expected.lines() if expected else ():
            say(f"{what}: {how}")
