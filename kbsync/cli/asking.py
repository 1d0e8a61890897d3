"""`ask`, `explain`: what the model says, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table


def register(app: typer.Typer) -> None:
    app.command()(ask)
    app.command()(explain)


def ask(
    context: typer.Context,
    prompts: Annotated[list[str], typer.Argument(help='Such as "The head of government of Italy is".')],
    json: Json = False,
) -> None:
    """Ask live, beside what the base says."""
    from kbsync.queries.answers import answers

    app = globals_of(context).application()
    found = answers(app, prompts)
    app.close()
    if json:
        print_json(found)
    else:
        print_table("answers", ("prompt", "base", "live"), ((a.prompt, a.base, a.live) for a in found))


def explain(
    context: typer.Context,
    prompt: Annotated[str, typer.Argument(help="The prompt whose answer is to be explained.")],
    json: Json = False,
) -> None:
    """Why does the model say this? Name the fact, run, source revision and gates behind an answer."""
    from kbsync.queries.answers import explanation

    app = globals_of(context).ledger()
    found = explanation(app, prompt)
    app.close()
    if json:
        print_json(found)
        return
    if not found:
        from kbsync.console import say

        say("no fact in the ledger has this prompt: the answer is the base model's own")
        return
    for item in found:
        fact = item.fact
        print_table(
            f"fact {fact.id}: {fact.prompt} {fact.target} ({fact.status})",
            ("what", "value"),
            [
                ("reason", fact.reason),
                ("source", f"{fact.source}, revision {fact.revision}, statement {fact.statement}"),
                *(
                    (
                        f"run {built.run.id}: {built.run.state}",
                        "; ".join(f"{g.name} {g.value:.3f}" for g in built.gates if g.value is not None)
                        + ("; the base knew it" if built.known else ""),
                    )
                    for built in item.builds
                ),
            ],
        )
