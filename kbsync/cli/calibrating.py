"""`calibrate`: find settings for a model, and prove them on facts that it knows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.model_options import WhichModel
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json, globals_of
from kbsync.console import Alarm, print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.standalone.calibrated import Calibrated


def register(app: typer.Typer) -> None:
    app.command()(calibrate)


@grouped
def calibrate(
    context: typer.Context,
    options: WhichModel,
    facts: Annotated[
        Path | None,
        typer.Option(
            help="Facts that the model may know, in the formats of `kbsync edit`. Default: those of the ledger, or "
            "common knowledge."
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0.1, max=10_000, help="Minutes; nothing begins that would take longer.")
    ] = 20.0,
    out: Annotated[
        Path | None,
        typer.Option(help="TOML file for the settings; the report and its figures are written next to it."),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Also set them in the home's kbsync.toml; its comments stay.")
    ] = False,
    json: Json = False,
) -> None:
    """Find settings for a model, and prove them on facts that it knows.

    Edits counterfactual facts in three splits: one to search with, one to check with, one to test with. Measures how
    many facts the model can hold. Interrupted, the same command carries on with what was finished.
    """
    from editing.datasets import read_records
    from kbsync.application import Application
    from kbsync.console import live_progress
    from kbsync.standalone import calibrating
    from kbsync.standalone.target import choose

    known = globals_of(context)
    home, settings = known.home(), known.settings(required=False)
    records = read_records(facts) if facts is not None else None
    chosen = choose(home, settings, model=options.model, device=options.device)
    file = calibrating.output(home, chosen, out, write=write, settings=settings)
    app = Application(home, settings)
    try:
        statements = calibrating.statements_of(records, app)
    finally:
        app.close()
    task = calibrating.Task(budget=budget, out=file, write=write)
    with live_progress() as progress:
        found = calibrating.calibrate(chosen, statements, settings, task, progress)
    if json:
        print_json(found)
    else:
        show(found)


def show(found: Calibrated) -> None:
    """The result, for people."""
    before, after = found.scores["before"], found.scores["after"]
    facts = found.facts
    print_table(
        f"scores on {facts['edits']['test']} facts that the search never saw",
        ("measure", "what the home has now", "calibrated", "95 % interval", "misses its gate by"),
        (
            (name, before.get(name), value, _interval(found, name), _missing(found, name))
            for name, value in after.items()
        ),
    )
    print_table(
        "settings",
        ("key", "value"),
        (
            (f"[{section}] {key}", value)
            for section, keys in found.settings.items()
            for key, value in keys.items()
        ),
    )
    columns = ("S", "efficacy", "paraphrase", "neighbourhood", "same_subject", "perplexity_ratio")
    print_table(
        "capacity",
        ("facts", *columns),
        ((point["n"], *(point.get(name) for name in columns)) for point in found.capacity),
        empty="not measured: there was no time left",
    )
    _tell(found)


def _tell(found: Calibrated) -> None:
    """What else there is to know, on stderr."""
    facts = found.facts
    say(f"{facts['known']} of {facts['given']} statements are known to the model")
    for reason, count in facts["left_out"].items():
        say(f"{count} left out: {reason}")
    if found.change is not None:
        say("the change of S is between {:+.3f} and {:+.3f} (95 %, on the same facts)".format(*found.change))
    if found.kept:
        say(
            "what the search found was worse than the settings in force on facts that it never saw: those stay"
        )
    if found.left_out:
        _list_left_out(found)
    say(f"settings: {found.file}; report: {found.report}")
    if found.written:
        say(f"set in {found.written}; `kbsync rebuild` applies them to what is live")
    else:
        say(f"to use them: `kbsync edit FACTS --settings {found.file}`, or calibrate again with --write")


def _list_left_out(found: Calibrated) -> None:
    """What the budget did not allow for, and the budget that would."""
    from editing.preflight import duration

    for stage in found.unfinished:
        of_stage = [one for one in found.left_out if one["stage"] == stage]
        seconds = sum(one["seconds"] for one in of_stage)
        say(f"left out of {stage}: {'; '.join(one['what'] for one in of_stage)} (about {duration(seconds)})")
    needed = 2 * math.ceil((found.seconds + sum(one["seconds"] for one in found.left_out)) / 60)
    say(f"it would not have ended within the budget; the same command with --budget {needed} carries on")


def _interval(found: Calibrated, name: str) -> str:
    if name not in found.intervals:
        return ""
    low, high = found.intervals[name]
    return f"{low:.3f} to {high:.3f}"


def _missing(found: Calibrated, name: str) -> Any:
    return Alarm(f"{-found.failing[name]:.3f}") if name in found.failing else ""
