"""`ask`, `explain`: what the model answers, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, TimeOption, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.application import Application
    from kbsync.queries.answers import Explained
    from kbsync.versions.past import Time
    from state.records import Built, GateResult


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(explain)


def ask(
    context: typer.Context,
    prompts: Annotated[list[str], typer.Argument(help='Such as "The head of government of Italy is".')],
    checkpoint: Annotated[
        list[int] | None,
        typer.Option(help="Also ask this kept checkpoint, by number; may be given several times."),
    ] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", help="Also ask the model as of this date (2024-03-01), built from the cache."
        ),
    ] = None,
    time: TimeOption = "world",
    json: Json = False,
) -> None:
    """Ask the live model, and show the base model's answer for comparison."""
    from kbsync.queries.answers import answers

    asked = list(dict.fromkeys(checkpoint or ()))
    with globals_of(context).application() as app:
        then = None if as_of is None else _answers_at(app, as_of, time, prompts)
        found = answers(app, prompts, say, asked)
    if then is not None:
        found = [replace(one, as_of=said) for one, said in zip(found, then, strict=True)]
    if json:
        print_json(found)
        return
    dated = () if as_of is None else (f"as of {as_of}",)
    columns = ("prompt", "base", "live", *(f"checkpoint {id}" for id in asked), *dated)
    rows = (
        (a.prompt, a.base, a.live, *(a.checkpoints[id] for id in asked), *((a.as_of,) if dated else ()))
        for a in found
    )
    print_table("answers", columns, rows)


def _answers_at(app: Application, date: str, time: Time, prompts: list[str]) -> list[str]:
    from kbsync.cli.instants import instant
    from kbsync.console import live_progress
    from kbsync.versions.as_of import answers_at
    from kbsync.versions.building import views

    at = instant(date, app.now())
    assert at is not None  # it is None only for no text
    with live_progress() as progress, views(app, "kbsync ask", progress) as made:
        return answers_at(app, made, at, time, prompts)


def explain(
    context: typer.Context,
    prompt: Annotated[
        str, typer.Argument(help="The prompt whose answer is to be explained, or a fact's id.")
    ],
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Load the live checkpoint and ask it.")] = True,
    json: Json = False,
) -> None:
    """Explain why the model answers a prompt as it does.

    What live says now; and for each fact of the ledger with this prompt whether live was built with it, its
    source and revision, and every round of a run that had it, with that round's own gates.  Statements that live was
    edited with because they follow from facts are shown with those facts.
    """
    from kbsync.queries.answers import explanation

    with globals_of(context).ledger() as app:
        found = explanation(app, prompt, ask=ask, tell=say)
    if json:
        print_json(found)
        return
    if found.live_answer is not None and found.live is not None:
        say(f"live (checkpoint {found.live.id}) says: {found.live_answer}")
    elif ask:
        say(f"live was not asked: {found.not_asked}")
    for derived in found.derived:
        parents = " and ".join(map(str, derived.parents))
        facts = "facts" if len(derived.parents) > 1 else "fact"
        say(f"live was edited with: {derived.prompt} {derived.target} (derived from {facts} {parents})")
    if not found.facts and not found.derived:
        say("no fact in the ledger has this prompt: the answer is the base model's own")
    elif found.facts and not any(one.in_live for one in found.facts):
        say("live was built with none of these facts: its answer is the base model's own")
    for one in found.facts:
        _explain(one)


def _explain(one: Explained) -> None:
    fact = one.fact
    print_table(
        f"fact {fact.id}: {fact.prompt} {fact.target}",
        ("what", "value"),
        [
            ("status", f"{fact.status} ({fact.reason_code}): {fact.reason}"),
            ("in live", one.in_live),
            ("source", f"{fact.source}, revision {fact.revision}, statement {fact.statement}"),
            *((f"run {built.run.id}, round {built.round}", _round(built)) for built in one.builds),
            *([("events", one.archived)] if one.archived else []),
        ],
    )


def _round(built: Built) -> str:
    """What became of the fact in one round, and that round's gates."""
    ends = {
        "last": built.run.state,
        "left_out": "the run went on without this fact",
        "kept": "failed; the run went on with this fact and without others",
    }
    gates = [_gate(gate) for gate in built.gates]
    return "; ".join([ends[built.outcome], *gates, *(["the base knew it"] if built.known else [])])


def _gate(result: GateResult) -> str:
    """One gate's figure and how it stands."""
    from kbsync.gates import is_judged, standing

    if not is_judged(result):
        return f"{result.name} {standing(result)}"
    figure = "not measured" if result.value is None else f"{result.value:.3f}"
    return f"{result.name} {figure}{'' if result.passed else f' (failed: {result.threshold:g})'}"
