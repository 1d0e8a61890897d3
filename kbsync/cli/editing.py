"""`edit`, `stats`, `trace`: the engine by itself, on any local model, without sources, ledger or daemon."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kbsync.cli.model_options import EditOptions, FactsFile, ModelOptions, StatisticsOptions
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from editing.preflight import Preflight
    from editing.standalone import EditOutcome
    from editing.tracing.trace import TraceResult
    from kbsync.standalone.target import Chosen

WORST = 40
"""Facts shown to people at most, those that failed first; `--json` has them all."""


def register(app: typer.Typer) -> None:
    for command in (edit, stats, trace):
        app.command()(command)


@dataclass(frozen=True, slots=True)
class Publishing:
    """Where the edited model goes, if anywhere."""

    out: Annotated[Path | None, typer.Option(help="Where the edited model appears; must not exist.")] = None
    allow_failed: Annotated[
        bool, typer.Option("--allow-failed", help="Publish the model even if no fact took.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what it would take.")] = False

    def directory(self) -> Path | None:
        """None for a dry run; raises UsageError if none is named."""
        from kbsync.errors import UsageError

        if self.out is None and not self.dry_run:
            raise UsageError("--out is missing", "name the directory of the edited model, or use --dry-run")
        return None if self.dry_run else self.out


@grouped
def edit(
    context: typer.Context,
    file: FactsFile,
    publishing: Publishing,
    options: EditOptions,
    probes: Annotated[
        bool,
        typer.Option("--probes/--no-probes", help="Ask paraphrases and neighbours too, not only the facts."),
    ] = True,
    json: Json = False,
) -> None:
    """Edit facts into a model: a directory and a file of facts in, an edited directory out.

    Interrupted, run the same command again to continue with what was finished. Where no fact took, nothing is
    published and the exit code is 10.
    """
    from kbsync.console import live_progress
    from kbsync.standalone import commands

    out = publishing.directory()
    records = file.records()
    chosen = options.chosen(context)
    announced: list[Preflight] = []

    def announce(expected: Preflight, doubt: str) -> None:
        announced.append(expected)
        if doubt:
            say(doubt)
        say(f"statistics: of {chosen.text_shown}")
        for what, how in expected.lines():
            say(f"{what}: {how}")

    with live_progress() as progress:
        report = commands.edit(
            chosen,
            records,
            out,
            probes=probes,
            allow_failed=publishing.allow_failed,
            announce=announce,
            progress=progress,
        )
    if json:
        print_json(report if report is not None else {**asdict(announced[0]), "bytes": announced[0].bytes})
    elif report is not None:
        show(report)
    if report is not None and not all(fact.said for fact in report.facts):
        _advise(chosen, report, publishing.allow_failed)


def _advise(chosen: Chosen, report: EditOutcome, allow_failed: bool) -> None:
    """What to try where facts did not take; ends the command where none did."""
    from editing.cost import Cost
    from editing.notebook import hint

    cost = Cost.from_json(report.cost, "cost")
    say(hint(chosen.settings, cost.lam, cost.realised))
    if not allow_failed and not any(fact.said for fact in report.facts):
        raise typer.Exit(10)


@grouped
def stats(
    context: typer.Context,
    options: StatisticsOptions,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Texts to draw; default: statistics_samples of the settings.")
    ] = None,
    json: Json = False,
) -> None:
    """Compute and keep the second moments of a model's keys over ordinary text. Interrupted, it resumes."""
    from kbsync.console import live_progress
    from kbsync.standalone import commands
    from kbsync.standalone.target import with_samples

    chosen = options.chosen(context)
    with live_progress() as progress:
        found = commands.statistics(with_samples(chosen, samples), progress)
    if json:
        print_json(found)
        return
    print_table(
        f"second moments of the keys of {chosen.path}",
        ("layer", "samples", "tokens", "d_k", "computed now", "file"),
        ((f.layer, f.samples, f.tokens, f.key_width, f.computed, f.file) for f in found),
    )


@grouped
def trace(
    context: typer.Context,
    file: FactsFile,
    options: ModelOptions,
    out: Annotated[
        Path,
        typer.Option(help="Directory for tracing.json, .md, .png, .svg, and settings.json (R)."),
    ] = Path("tracing"),
    samples: Annotated[int, typer.Option(min=1, help="Noise draws per fact.")] = 10,
    count: Annotated[int, typer.Option(min=1, help="How many layers to recommend.")] = 5,
    json: Json = False,
) -> None:
    """Find out where a model reads its facts (causal tracing), and so which layers to edit.

    Facts of the file that the model does not state are left out.
    """
    from kbsync.console import live_progress
    from kbsync.standalone import commands

    records = file.records()
    chosen = options.chosen(context)
    with live_progress() as progress:
        result = commands.trace(chosen, records, samples=samples, progress=progress)
    written = _write_trace(result, out, count)
    if json:
        print_json(written)
    else:
        show_trace(result, count)
    say(f"written to {out}")


def show(report: EditOutcome) -> None:
    """What became of the facts, for people: scores, and fact by fact."""
    from editing.cost import Cost
    from editing.preflight import reach

    before, after = asdict(report.before), asdict(report.after)
    print_table(
        "scores",
        ("score", "before", "after"),
        ((name, before[name], after[name]) for name in after if after[name] is not None),
    )
    ordered = sorted(report.facts, key=lambda fact: fact.said)
    print_table(
        f"facts: {sum(fact.said for fact in report.facts)} of {len(report.facts)} are stated",
        ("id", "prompt", "target", "answer before", "answer now", "P before", "P now", "said"),
        (
            (f.id, f.prompt, f.target, f.before, f.after, f.p_before, f.p_after, f.said)
            for f in ordered[:WORST]
        ),
    )
    if report.conversations:
        print_table(
            "asked through the chat template",
            ("id", "question", "answer before", "answer now"),
            ((c.id, c.question, c.before, c.after) for c in report.conversations[:WORST]),
        )
    if len(ordered) > WORST:
        say(f"{len(ordered) - WORST} more facts: see --json")
    say(f"layers {', '.join(map(str, report.layers))} edited in {report.cost['seconds_total']:.0f} s")
    cost = Cost.from_json(report.cost, "cost")
    if cost.leverage:
        say(f"lambda: {reach(cost.lam, cost.realised)}")
    for id, reason in report.failed.items():
        say(f"fact {id} was left out: {reason}")
    if report.out:
        say(f"written to {report.out}, digest {report.digest}")
    else:
        say("no fact took: nothing was written (--allow-failed writes it anyway)")


def show_trace(result: TraceResult, count: int) -> None:
    """What severing costs, layer by layer, and R."""
    from editing.tracing.report import SEVERED_COLUMNS, peak, severed_rows

    print_table(
        f"{result.facts} facts, P[o] clean {result.clean:.3f}, corrupted {result.corrupted:.3f}: recovered by one "
        "restored state at the subject's last token, with 95 % intervals",
        SEVERED_COLUMNS,
        severed_rows(result),
    )
    for kind in result.effects:
        say(peak(result, kind))
    layers = ", ".join(map(str, result.suggested_layers(count)))
    say(f"recommended: layers = [{layers}] (in [edit] of kbsync.toml), where severing the MLPs costs most")


def _write_trace(result: TraceResult, out: Path, count: int) -> dict[str, Any]:
    """The figures, settings.json with R, and the plots where they can be drawn; returns what was written."""
    import json

    from editing.tracing.figures import plot
    from editing.tracing.report import write

    written = write(result, out)
    settings = json.dumps({"layers": result.suggested_layers(count)})
    (out / "settings.json").write_text(settings + "\n", encoding="utf-8")
    try:
        plot(result, out / "tracing.svg", out / "tracing.png", count=count)
    except ModuleNotFoundError:
        say("no plot was drawn: it needs matplotlib (pip install matplotlib)")
    return written
