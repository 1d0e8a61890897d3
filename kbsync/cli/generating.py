"""`dataset`: a data set in CounterFact's format, made from a ledger or a file of facts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, say


def register(app: typer.Typer) -> None:
    app.command()(dataset)


def dataset(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    facts: Annotated[
        Path | None,
        typer.Option(help="Facts that are true, in a format of `kbsync edit`. Default: the ledger's."),
    ] = None,
    testbed: Annotated[
        bool, typer.Option("--testbed", help="Take the world of the bundled model instead.")
    ] = False,
    count: Annotated[int | None, typer.Option(min=1, help="Entries at most; default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Which facts are drawn, and which objects they get.")] = 0,
    json: Json = False,
) -> None:
    """Make a data set in CounterFact's format: counterfactual edits of facts, with the prompts that judge them.

    Each fact gets another object of its relation. Paraphrases are the relation's other wordings, neighbours are other
    subjects with the old object, and reference texts are about subjects that have the new one.
    """
    from kbsync.experiments import generation

    known = globals_of(context)
    if testbed:
        from kbsync.experiments.testbed import world_statements

        statements = world_statements()
    else:
        statements = generation.statements(known.home(), known.settings(required=False), facts)
    made = generation.write(out, statements, count=count, seed=seed)
    if json:
        print_json(made)
    else:
        say(
            f"{made.entries} entries of {made.relations} relations, from {made.facts} facts: written to {made.file}"
        )
