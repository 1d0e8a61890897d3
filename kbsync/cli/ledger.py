"""`status`, `facts`, `edits`, `runs`, `checkpoints`: what the ledger knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.listing import After, Before, Newest, Oldest, say_next
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Actor, Json, Reason, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.gates.judge_record import JudgeRecord, JudgeReply
    from state.fact_queries import FactFilter
    from state.records import Fact, FactStatus, GateResult, Run


def register(app: typer.Typer) -> None:
    for command in (status, facts, edits, runs):
        app.command()(command)
    group = typer.Typer(
        help="Built models that are kept: list them, keep one for good, allow a rolled-back one again.",
        invoke_without_command=True,
    )
    group.callback()(checkpoints)
    group.command("pin")(pin)
    group.command("release")(release)
    app.add_typer(group, name="checkpoints")


def status(context: typer.Context, json: Json = False) -> None:
    """Show on one page what is live and served, what is pending, what waits for a person, and how reading the
    sources goes.

    Everything is read from the ledger: no source and no server is asked, and no model is loaded.
    """
    from kbsync.queries.status import overview

    with globals_of(context).ledger() as app:
        seen = overview(app)
    if json:
        print_json(seen)
        return
    print_table("status", ("what", "how"), ((key, value) for key, value in seen.lines()))


@dataclass(frozen=True, slots=True)
class Listed:
    """Which facts are listed."""

    status: Annotated[
        str | None, typer.Option(help="Only these: held, quarantined, wanted, retracted or superseded.")
    ] = None
    relation: Annotated[str | None, typer.Option(help="Only of this relation, such as wdt:P6.")] = None
    subject: Annotated[str | None, typer.Option(help="Only of this subject (its id), such as wd:Q38.")] = None
    source: Annotated[str | None, typer.Option(help="Only what this source states.")] = None
    code: Annotated[str | None, typer.Option(help="Only with this reason's code, such as settling.")] = None

    def filter(self) -> FactFilter:
        """Raises UsageError for a status that no fact has."""
        from state.fact_queries import FactFilter

        return FactFilter(_status(self.status), self.relation, self.subject, self.source, self.code)


@grouped
def facts(
    context: typer.Context,
    chosen: Listed,
    after: After = 0,
    limit: Oldest = 100,
    json: Json = False,
) -> None:
    """List facts: wanted, waiting, quarantined or retracted, each with the reason why.

    docs/admission.md explains every reason code; `kbsync quarantine show ID` shows one fact in full.
    """
    from state.paging import filled

    asked = chosen.filter()
    with globals_of(context).ledger() as app, app.state.read() as tx:
        page = filled(lambda start, some: tx.facts_page(asked, start or 0, some), after, limit)
    _print_facts("facts", page.rows, json)
    say_next("--after", page.next)


def _status(text: str | None) -> FactStatus | None:
    from typing import get_args

    from kbsync.errors import UsageError
    from state.records import FactStatus

    words: tuple[FactStatus, ...] = get_args(FactStatus)
    if text is None:
        return None
    for word in words:
        if word == text:
            return word
    raise UsageError(f"{text!r} is not a status of a fact", f"choose one of {', '.join(words)}")


def edits(context: typer.Context, after: After = 0, limit: Oldest = 100, json: Json = False) -> None:
    """List the facts that live was edited with.

    Facts that the base model knew already are part of live's view too, but they change no weight and are not
    listed.
    """
    from state.paging import Page

    with globals_of(context).ledger() as app, app.state.read() as tx:
        live = tx.live()
        page: Page[Fact] = Page((), None) if live is None else tx.edits_page(live, after, limit)
    _print_facts("edits in live", page.rows, json)
    say_next("--after", page.next)


def _print_facts(title: str, found: Sequence[Fact], json: bool) -> None:
    if json:
        print_json(found)
        return
    print_table(
        title,
        ("id", "subject", "relation", "object", "status", "code", "reason", "source", "revision"),
        (
            (
                f.id,
                f.subject_label,
                f.relation,
                f.target,
                f.status,
                f.reason_code,
                f.reason,
                f.source,
                f.revision,
            )
            for f in found
        ),
    )


def runs(
    context: typer.Context,
    run: Annotated[int | None, typer.Argument(help="Show this run with its gates, round by round.")] = None,
    before: Before = None,
    limit: Newest = 20,
    json: Json = False,
) -> None:
    """List runs, newest first, or show one with what its gates measured.

    A run builds a candidate from everything that is wanted, judges it and, if every gate passes, promotes
    it. After a failed gate it tries another round without the facts that caused the failure.
    """
    from state.paging import cut

    with globals_of(context).ledger() as app, app.state.read() as tx:
        read = [tx.run(run)] if run is not None else tx.runs(limit + 1, before=before)
        page = cut(read, limit, lambda one: one.id)
        results = list(tx.gate_results(run)) if run is not None else []
    found = page.rows
    if json:
        print_json(
            {"run": found[0], "gates": results, "judge": _judge(app, found[0])} if run is not None else found
        )
    else:
        _print_runs(app, found, None if run is None else results)
    say_next("--before", page.next, older="there are older ones")


def _print_runs(app: Application, found: Sequence[Run], results: Sequence[GateResult] | None) -> None:
    """A table of runs; of one run also what its gates measured."""
    from kbsync.gates import standing

    print_table(
        "runs",
        ("id", "state", "round", "view", "trigger", "reason", "updated"),
        ((r.id, r.state, r.round, r.view[:12], r.trigger, r.reason, r.updated) for r in found),
    )
    if results is not None:
        print_table(
            "gates",
            ("round", "gate", "value", "bound", "threshold", "n", "verdict", "detail"),
            (
                (
                    g.round,
                    g.name,
                    None if standing(g) == "not judged" else g.value,
                    g.bound,
                    g.threshold,
                    g.n,
                    standing(g),
                    g.detail,
                )
                for g in results
            ),
        )
        _print_measured(app, found[0])
        _print_judge(_judge(app, found[0]))


def _judge(app: Application, run: Run) -> JudgeRecord | None:
    """What a judge model was asked about the candidate of the last round."""
    from kbsync.gates.judge_record import read_record

    return read_record(app.home.round(run.id, run.round).judge)


def _print_judge(record: JudgeRecord | None) -> None:
    if record is None:
        return
    print_table(
        record.summary,
        ("fact", "gate", "of", "question", "answer", "verdict", "reason"),
        (
            (*place, *_asked(reply), reply.verdict, reply.reason or reply.problem)
            for one in record.answers
            for reply in [record.exchanges[one.exchange]]
            for place in [(one.place.fact, one.place.measure, one.place.side)]
        ),
    )


def _print_measured(app: Application, run: Run) -> None:
    """What the last round measured for gates that are off, beside the threshold that they would have."""
    from editing.errors import SpecError
    from editing.spec import BuildReport
    from kbsync.errors import BadConfiguration
    from kbsync.queries.measured import unjudged

    report = app.home.round(run.id, run.round).report
    try:
        rows = unjudged(app.gates, BuildReport.read(report).measures if report.is_file() else ())
    except (BadConfiguration, SpecError) as error:
        say(f"what was measured for gates that are off cannot be shown: {error}")
        return
    if rows:
        print_table(
            "measured for gates that are off",
            ("gate", "value", "live", "base", "base, of what it states", "passes when", "n", "note"),
            (
                (r.name, r.value, r.live, r.base, _of(r.ability), r.condition, r.n, _note(r.flaw))
                for r in rows
            ),
        )


def _asked(reply: JudgeReply) -> tuple[str, str]:
    """The question, and the answer that was judged."""
    return reply.asked.get("question", ""), reply.asked.get("answer", "")


def _of(counted: tuple[int, int] | None) -> str | None:
    return None if counted is None else f"{counted[0]} of {counted[1]}"


def _note(flaw: str) -> str:
    return f"not judgeable on this base: {flaw}" if flaw else ""


def checkpoints(
    context: typer.Context, before: Before = None, limit: Newest = 50, json: Json = False
) -> None:
    """List checkpoints, newest first: which one is live, and which ones `kbsync rollback` can return to.

    A blocked one was rolled back: it is not promoted again until it is released.
    """
    if context.invoked_subcommand is not None:
        return
    from state.paging import cut

    with globals_of(context).ledger() as app, app.state.read() as tx:
        page = cut(tx.checkpoints_before(before, limit + 1), limit, lambda one: one.id)
    if json:
        print_json(page.rows)
    else:
        print_table(
            "checkpoints",
            ("id", "status", "run", "view", "path", "pinned", "blocked", "promoted"),
            (
                (c.id, c.status, c.run, c.view[:12], c.path, c.pinned, c.blocked, c.promoted)
                for c in page.rows
            ),
        )
    say_next("--before", page.next, older="there are older ones")


def pin(
    context: typer.Context,
    checkpoint: Annotated[int, typer.Argument(help="Its number.")],
    reason: Reason,
    off: Annotated[bool, typer.Option("--off", help="Unpin it instead.")] = False,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Keep a checkpoint for good: garbage collection leaves it alone until `--off`.

    Others are deleted once more than `[state] keep` newer ones have been live.
    """
    with globals_of(context).ledger() as app, app.state.write() as tx:
        (tx.unpin if off else tx.pin)(checkpoint, reason, actor)
    if json:
        print_json({"checkpoint": checkpoint, "pinned": not off})
    else:
        say(f"checkpoint {checkpoint} is {'no longer ' if off else ''}pinned")


def release(
    context: typer.Context,
    checkpoint: Annotated[int, typer.Argument(help="Its number.")],
    reason: Reason,
    actor: Actor = "operator",
    json: Json = False,
) -> None:
    """Allow a view that was rolled back to be built and promoted again.

    Its facts stay in quarantine until they are approved or reopened.
    """
    with globals_of(context).ledger() as app, app.state.write() as tx:
        blocked = tx.checkpoint(checkpoint)
        released = tx.release_view(blocked.view, reason, actor)
    if json:
        print_json({"checkpoint": checkpoint, "released": released})
    elif released:
        say(f"the view of checkpoint {checkpoint} may be promoted again")
    else:
        say(f"the view of checkpoint {checkpoint} was not blocked: nothing to do")
