"""`survey`: what the base model believes against the ledger."""

from __future__ import annotations

import typer

from kbsync.cli.options import Actor, Json, globals_of
from kbsync.cli.requesting import have_done
from kbsync.console import print_json, print_table


def register(app: typer.Typer) -> None:
    app.command()(survey)


def survey(context: typer.Context, actor: Actor = "operator", json: Json = False) -> None:
    """Ask the base model about every wanted fact, and show what it has right, outdated or does not know.

    Nothing is edited, and the answers are kept: a second survey asks only about new facts.
    """
    from kbsync.queries.survey import BELIEFS
    from kbsync.queries.survey import survey as surveyed

    with globals_of(context).application() as app:
        have_done(app, "survey", lambda tx: {}, reason="", actor=actor)
        found = surveyed(app)
    if json:
        print_json(found)
        return
    for title, lines in (("by relation", found.relations), ("by source", found.sources)):
        rows = ((line.name, *(line.counts.get(one, 0) for one in BELIEFS)) for line in lines)
        print_table(title, ("", *BELIEFS), rows, empty="no fact is wanted yet")
    print_table(
        "outdated",
        ("fact", "prompt", "the base answers", "wanted"),
        ((one.fact.id, one.fact.prompt, one.answer, one.fact.target) for one in found.outdated),
    )
