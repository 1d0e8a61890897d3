"""`quarantine`, `retract`, `unretract`: what people decide about facts, one or many at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.dossiers import show
from kbsync.cli.listing import After, Oldest, say_next
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Actor, Json, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.intake.quarantine import Outcome, Word
    from kbsync.queries.quarantine import Selection, Waiting
    from state.records import Fact

Facts = Annotated[list[int] | None, typer.Argument(help="Their numbers, as `kbsync quarantine` lists them.")]
Why = Annotated[
    str | None, typer.Option("--reason", help="Why, in at least one word; recorded in the audit log.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would happen; nothing is written.")]
Stale = Annotated[
    bool,
    typer.Option("--stale", help="Those that a gate rejected under other settings than the current ones."),
]


@dataclass(frozen=True, slots=True)
class InCommon:
    """What the facts that are meant have in common."""

    run: Annotated[int | None, typer.Option(help="Those that the gates of this run rejected.")] = None
    gate: Annotated[
        str | None, typer.Option(help="Those that this gate rejected, such as neighbourhood.")
    ] = None
    relation: Annotated[str | None, typer.Option(help="Those of this relation, such as wdt:P6.")] = None
    source: Annotated[str | None, typer.Option(help="Those that this source states.")] = None
    code: Annotated[
        str | None, typer.Option(help="Those with this reason's code, such as living_review.")
    ] = None
    stale: Stale = False

    def selection(self) -> Selection:
        from kbsync.queries.quarantine import Selection

        return Selection(self.run, self.gate, self.relation, self.source, self.code, self.stale)


@dataclass(frozen=True, slots=True)
class DecisionOptions:
    """A person's decision: about which facts, why, and who decides."""

    facts: Facts = None
    reason: Why = None
    dry_run: DryRun = False
    actor: Actor = "operator"
    json: Json = False


def register(app: typer.Typer) -> None:
    quarantine = typer.Typer(
        help="Facts held back for a person to decide: list them, look at one, approve, reject, reopen.",
        invoke_without_command=True,
    )
    quarantine.callback()(quarantined)
    for command in (show, approve, reject, reopen):
        quarantine.command()(command)
    app.add_typer(quarantine, name="quarantine")
    app.command()(retract)
    app.command()(unretract)


@grouped
def quarantined(
    context: typer.Context, chosen: InCommon, after: After = 0, limit: Oldest = 100, json: Json = False
) -> None:
    """List facts that wait for a person, each with the reason why it is held back.

    `kbsync quarantine show ID` shows one in full: its prompts, the model's answers, and what contradicts
    it. Then `approve` or `reject` it, or, where a gate rejected it, `reopen` it to have it judged again.
    """
    if context.invoked_subcommand is not None:
        return
    from kbsync.queries.quarantine import waiting_page
    from state.paging import filled

    selection = chosen.selection()
    with globals_of(context).ledger() as app:
        page = filled(lambda start, some: waiting_page(app, selection, start or 0, some), after, limit)
    if json:
        print_json(page.rows)
    else:
        _print_waiting(page.rows)
    say_next("--after", page.next)


def _print_waiting(found: Sequence[Waiting]) -> None:
    """What waits for a person, and what may be judged again."""
    print_table(
        "quarantine",
        ("id", "subject", "relation", "object", "code", "reason", "stale"),
        (
            (
                w.fact.id,
                w.fact.subject_label,
                w.fact.relation,
                w.fact.target,
                w.fact.reason_code,
                w.fact.reason,
                True if w.stale else None,
            )
            for w in found
        ),
    )
    if old := sum(one.stale for one in found):
        say(
            f"{old} of them failed a gate under other settings than the current ones: "
            "`kbsync quarantine reopen --stale` has them judged again"
        )


def _decision(word: Word, help: str) -> Callable[..., None]:
    """A command that decides about facts which are named by number or chosen by what they have in common."""

    def command(context: typer.Context, chosen: InCommon, decision: DecisionOptions) -> None:
        _decide(context, word, chosen, decision)

    command.__name__, command.__doc__ = word, help
    return grouped(command)


approve = _decision(
    "approve",
    """Let values in that wait for a reviewer; the next run edits them in.

    Name facts by number, or choose those that wait by what they have in common. What no approval lifts (a
    deny-list, a label that no prompt can hold) and what would contradict another approval is listed and left.
    """,
)
reject = _decision(
    "reject",
    """Keep values out, however often a source states them and however they are spelled.

    It holds in that slot for every name of the value, until `kbsync quarantine reopen` takes it back.
    """,
)
reopen = _decision(
    "reopen",
    """Take back what was decided about values: rejections, approvals, failed gates, rollbacks.

    Admission then judges them as if they were new. After a change of `[edit]` or of a gate's threshold,
    `kbsync quarantine reopen --stale` has everything judged again that failed under the old settings.
    """,
)


def _withdrawal(name: str, word: Word, help: str) -> Callable[..., None]:
    """A command that decides about facts which are named by number, whatever their status."""

    def command(context: typer.Context, decision: DecisionOptions) -> None:
        _decide(context, word, InCommon(), decision)

    command.__name__, command.__doc__ = name, help
    return grouped(command)


retract = _withdrawal(
    "retract",
    "reject",
    """Take facts out of the model for good: the next run rebuilds without them, which un-edits them exactly.

    No source brings them back, under no other name; `kbsync unretract` does.
    """,
)
unretract = _withdrawal(
    "unretract",
    "reopen",
    """Take a retraction back: the fact is wanted again if a source still states it and no rule objects.""",
)


def _decide(context: typer.Context, word: Word, chosen: InCommon, decision: DecisionOptions) -> None:
    """Carry out what a person decided, and say how things stand afterwards."""
    from kbsync.errors import UsageError
    from kbsync.intake import quarantine
    from kbsync.queries.quarantine import waiting

    selection = chosen.selection()
    if bool(decision.facts) == bool(selection):
        raise UsageError(
            "name facts by number, or choose them by what they have in common, one of the two",
            "such as `3 4`, or `--gate neighbourhood`; `kbsync quarantine` lists what waits",
        )
    with globals_of(context).application() as app:
        outcome = quarantine.decide(
            app.intake(),
            word,
            decision.facts or [one.fact.id for one in waiting(app, selection, word)],
            decision.reason or ("dry run" if decision.dry_run else ""),
            decision.actor,
            rehearse=decision.dry_run,
            named=bool(decision.facts),
        )
    if decision.json:
        print_json(outcome)
    else:
        _show_outcome(outcome)


LISTED = 20
"""Changes that are printed one by one on stderr; more are a table."""


def _show_outcome(outcome: Outcome) -> None:
    if outcome.rehearsed or len(outcome.changes) > LISTED:
        print_table(
            "would change" if outcome.rehearsed else "changed",
            ("id", "subject", "relation", "object", "was", "becomes", "because"),
            (
                (
                    c.after.id,
                    c.after.subject_label,
                    c.after.relation,
                    c.after.target,
                    c.before,
                    c.after.status,
                    c.after.reason,
                )
                for c in outcome.changes
            ),
        )
    else:
        for change in outcome.changes:
            say(f"fact {_described(change.after)} is {change.after.status}: {change.after.reason}")
    for fact in outcome.unchanged:
        say(f"fact {_described(fact)} stays {fact.status}: {fact.reason}")
    for one in outcome.seconded:
        say(f"fact {_described(one.fact)} is {one.approvals}")
    for refusal in outcome.refused:
        say(f"left as it is: {refusal.why}")
        say(f"  → {refusal.advice}")
    if not (outcome.changes or outcome.unchanged or outcome.seconded or outcome.refused):
        say("no fact matches: nothing was decided")
    elif outcome.rehearsed:
        say("nothing was written: this was a dry run")


def _described(fact: Fact) -> str:
    return f"{fact.id} ({fact.subject_label}, {fact.relation}, {fact.target})"
