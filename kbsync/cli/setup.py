"""`init`, `config check`, `gates`, `relations`: before anything runs."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from editing.evaluation.measures.declaration import FactMeasure
    from kbsync.gates import Gate
    from kbsync.settings.sections import PlanSettings


def register(app: typer.Typer) -> None:
    config = typer.Typer(help="Look at the settings.", no_args_is_help=True)
    config.command("check")(check)
    app.command()(init)
    app.add_typer(config, name="config")
    app.command()(gates)
    app.command()(relations)


def init(
    context: typer.Context,
    force: Annotated[bool, typer.Option(help="Overwrite an existing settings file.")] = False,
    json: Json = False,
) -> None:
    """Write a commented kbsync.toml into the home."""
    from editing.durable import write_file
    from kbsync.errors import UsageError
    from kbsync.home import PRIVATE

    home = globals_of(context).home()
    target: Path = globals_of(context).config or home.config
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", "edit it, or overwrite it with --force")
    home.prepare()
    text = resources.files("kbsync").joinpath("kbsync.example.toml").read_bytes()
    write_file(target, text, mode=PRIVATE)  # it may come to hold a database's password
    if json:
        print_json({"file": target})
        return
    say(f"wrote {target}: give it a [model] and a [sources.NAME], then run `kbsync config check`")


def check(
    context: typer.Context,
    online: Annotated[
        bool, typer.Option("--online", help="Ask every source once as well, each for at most a minute.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the settings file and the environment, and show what is in force.

    Names everything that cannot work, with what was probably meant.  Ends with 78 if anything is wrong,
    with 75 if, asked with --online, a source does not answer now.
    """
    from kbsync.application import Application
    from kbsync.cli.doctor import print_findings
    from kbsync.queries.config_check import check_settings, require_no_problems
    from kbsync.queries.doctor import ask_sources, exit_code
    from kbsync.settings.redacted import redacted

    settings = globals_of(context).settings()
    with Application(globals_of(context).home(), settings) as app:
        checked = check_settings(app)
        answers = ask_sources(app) if online else ()
    if json:
        print_json(
            {
                "settings": redacted(settings.model_dump(mode="json")),
                "checks": checked.found,
                "problems": checked.problems,
                "notices": checked.notices,
                **({"sources": answers} if online else {}),
            }
        )
    else:
        print_table("settings", ("what", "found"), checked.found.items())
        for notice in checked.notices:
            say(f"note: {notice}")
        if online:
            print_findings("sources", answers)
    require_no_problems(checked)
    raise typer.Exit(exit_code(answers))


def gates(
    context: typer.Context,
    power: Annotated[bool, typer.Option("--power", help="Show how many facts each gate has to ask.")] = False,
    margin: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="With --power: how much better than its threshold.")
    ] = 0.05,
    json: Json = False,
) -> None:
    """Explain the gates: what each measures, when it passes, and what its failure is traced to.

    With --power, show the samples by which a gate passes nine of ten candidates that are better than its threshold by
    the margin.
    """
    settings = globals_of(context).settings(required=False)
    found = settings.gate_list()
    if power:
        _print_power(found, settings.plan, margin, json=json)
        return
    if json:
        print_json([gate.described() for gate in found])
        return
    print_table(
        "gates",
        (
            "gate",
            "passes when",
            "worse than live by at most",
            "bound",
            "failure traced to",
            "what it measures",
        ),
        (
            (
                gate.name,
                f"{gate.condition}{', required' if gate.required else ''}" if gate.enabled else "off",
                gate.margin,
                f"{gate.confidence:.0%} where sampled",
                "single facts" if gate.judges_facts else "the candidate as a whole",
                gate.explains,
            )
            for gate in found
        ),
    )


def _print_power(gates: Sequence[Gate], plan: PlanSettings, margin: float, *, json: bool) -> None:
    from editing.evaluation.measures.of_facts import FACT_MEASURES
    from kbsync.gates.power import sample_sizes

    measures = {measure.name: measure for measure in FACT_MEASURES}
    questions = {
        name: one.questions if isinstance(one.questions, int) else getattr(plan, one.questions)
        for name, one in measures.items()
    }
    sizes = sample_sizes([gate for gate in gates if gate.enabled], questions, margin=margin)
    if json:
        print_json(sizes)
        return
    print_table(
        f"samples that pass nine of ten candidates which are better by {margin:g}",
        ("gate", "threshold", "true share", "cases", "questions a fact", "facts", "setting"),
        (
            (
                s.gate,
                s.threshold,
                s.share,
                s.cases,
                s.questions,
                s.facts,
                _sample(measures[s.gate], plan),
            )
            for s in sizes
        ),
    )


def _sample(measure: FactMeasure, plan: PlanSettings) -> str:
    """What limits the number of facts that the measure asks about."""
    limits = []
    if measure.of == "examined":
        limits.append(f"exam_every = {plan.exam_every}")
    elif measure.of != "new":
        limits.append(f"retention_sample = {plan.retention_sample}")
    if measure.answered in ("free", "sampled"):
        limits.append(f"generate = {plan.generate}")
    elif measure.most is not None:
        limits.append(f"{measure.most} at most")
    return ", ".join(limits) or "all are asked"


def relations(
    context: typer.Context,
    relation: Annotated[str | None, typer.Argument(help="One relation, such as wdt:P36.")] = None,
    subject: Annotated[str, typer.Option(help="Subject to render the templates for.")] = "…",
    object: Annotated[str, typer.Option(help="Object to render the inverse templates for.")] = "…",
    json: Json = False,
) -> None:
    """Show the relation catalogue, with the settings' additions, rendered for a subject (and an object)."""
    from kbsync.catalogue.relations import load_catalogue, render, render_inverse

    catalogue = load_catalogue(globals_of(context).settings(required=False).relations)
    chosen = [catalogue.named(relation)] if relation else list(catalogue.values())
    if json:
        print_json(
            [
                {
                    "relation": item,
                    "rendered": render(item, subject),
                    "rendered_inverse": render_inverse(item, object),
                }
                for item in chosen
            ]
        )
    elif relation:
        (one,) = chosen
        edited, *others = render(one, subject)
        edits_inverse = "the other way round, edited too" if one.edit_inverse else "the other way round"
        rows = [("edited with", edited), *(("judged by", text) for text in others)]
        rows += [(edits_inverse, text) for text in render_inverse(one, object)]
        print_table(f"{relation} {one.label}", ("use", "prompt"), rows)
    else:
        print_table(
            "relations",
            ("id", "label", "values", "subject", "on", "edited with", "the other way round"),
            (
                (
                    r.id,
                    r.label,
                    "one" if r.single_valued else "many",
                    r.subject_type,
                    r.enabled,
                    render(r, subject)[0],
                    render_inverse(r, object)[0] if r.edit_inverse else "",
                )
                for r in chosen
            ),
        )
