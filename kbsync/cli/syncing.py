"""`sync`, `run`, `pause`, `resume`, `dry-run`: making the model current."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.cli.requesting import NoWait, have_done
from kbsync.console import plain, print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.service.cycle import CycleReport


def register(app: typer.Typer) -> None:
    for command in (sync, run, pause, resume, rebuild):
        app.command()(command)
    app.command("dry-run")(dry_run)


def sync(
    context: typer.Context,
    bootstrap: Annotated[
        bool,
        typer.Option(
            help="A first import: values that the source does not date count as settled, and the volume breaker "
            "does not apply. Also lets in what it stopped before."
        ),
    ] = False,
    no_wait: NoWait = False,
    json: Json = False,
) -> None:
    """Run one cycle now: pull, admit, build, judge, promote.

    While the daemon runs, the daemon does this, after the cycle that is under way.
    """
    _cycle(context, "sync", {"bootstrap": bootstrap}, no_wait=no_wait, json=json)


def rebuild(context: typer.Context, no_wait: NoWait = False, json: Json = False) -> None:
    """Build what is wanted again with today's settings, though nothing has changed; no source is read.

    `kbsync status` says what live was built with differently.
    """
    _cycle(context, "rebuild", {}, no_wait=no_wait, json=json)


def _cycle(
    context: typer.Context, action: str, arguments: dict[str, bool], *, no_wait: bool, json: bool
) -> None:
    """Have a cycle done, print its report, and exit with its code."""
    from kbsync.service.actions import REPORTS

    with globals_of(context).application() as app:
        answer = have_done(
            app,
            action,
            lambda tx: arguments,
            reason="",
            actor="operator",
            no_wait=no_wait,
            json=json,
        )
    if answer is None:
        return
    report = REPORTS.validate_python(answer)
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
    from kbsync.intake.report import BOOTSTRAP_ADVICE

    for source, intake in report.intake.items():
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(intake.verdicts.items()))
        if intake.observations or counts:
            say(f"{source}: {intake.observations} slots read{f': {counts}' if counts else ''}")
        for relation, slots in sorted(intake.unlisted.items()):
            say(
                f"{source}: {slots} slots of {relation} wait until the relation has a label and templates: "
                f'add [relations."{relation}"] to the settings'
            )
        if intake.rejected:
            say(f"{source}: {intake.rejected} rejected: {intake.reject}")
        if intake.stopped:
            say(
                f"{source}: the volume breaker stopped {intake.stopped} facts, which are more than "
                f"[policy] max_accepted allows in one cycle: {BOOTSTRAP_ADVICE}"
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
    """Run the daemon: sync on schedule until SIGTERM; SIGHUP reads the settings again."""
    from kbsync.cli.serving import daemon_pages
    from kbsync.service import reloading

    options = globals_of(context)
    reloading.run(options.home(), options.settings, daemon_pages)


def pause(context: typer.Context, reason: Reason, actor: Actor = "operator", json: Json = False) -> None:
    """Let the daemon start no cycle until `resume`; a cycle that has begun is finished."""
    with globals_of(context).ledger() as app, app.state.write() as tx:
        paused = tx.pause(reason, actor)
    print_json({"paused": paused}) if json else say("paused")


def resume(context: typer.Context, actor: Actor = "operator", json: Json = False) -> None:
    """Let the daemon work again."""
    with globals_of(context).ledger() as app, app.state.write() as tx:
        resumed = tx.resume(actor)
    if json:
        print_json({"resumed": resumed})
        return
    say("resumed" if resumed else "the daemon was not paused: nothing to do")


def dry_run(context: typer.Context, json: Json = False) -> None:
    """Show what the next run would build and what that would take, without pulling or building."""
    from editing.preflight import Preflight
    from kbsync.runs.planning import NothingToDo, Plan
    from kbsync.settings.base_model import calibration_doubt

    with globals_of(context).application() as app:
        answer = have_done(app, "dry-run", lambda tx: {}, reason="", actor="operator")
        assert answer is not None
        doubt = calibration_doubt(app.settings, app.imported_base(), app.home)
        with app.state.read() as tx:
            facts = {
                name: tx.facts(ids=answer.get(name, ())) for name in ("facts", "new", "removed", "waiting")
            }
    if "nothing" in answer:
        nothing = NothingToDo(answer["nothing"], facts["waiting"])
        if json:
            print_json({**plain(nothing), "preflight": None, "calibration": doubt})
            return
        say(f"nothing to do: {nothing.reason}")
        _say_doubt(doubt)
        return
    planned = Plan(**facts, known=frozenset(answer["known"]))
    expected = Preflight(**answer["preflight"]) if answer["preflight"] else None
    if json:
        print_json({**plain(planned), "preflight": expected, "calibration": doubt})
        return
    rows = [("edit", f) for f in planned.new] + [("un-edit", f) for f in planned.removed]
    rows += [("wait", f) for f in planned.waiting]
    print_table(
        f"a run would build a view of {len(planned.facts)} facts ({len(planned.known)} known)",
        ("what", "fact", "subject", "relation", "object"),
        ((what, f.id, f.subject_label, f.relation, f.target) for what, f in rows),
    )
    for what, how in expected.lines() if expected else ():
        say(f"{what}: {how}")
    _say_doubt(doubt)


def _say_doubt(doubt: str) -> None:
    if doubt:
        say(f"settings: {doubt}")
