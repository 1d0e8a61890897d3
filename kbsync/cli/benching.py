"""`bench`: the paper's experiments on a model, and every installed editor beside MEMIT."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbsync.cli.model_options import ModelOptions
from kbsync.cli.option_groups import grouped
from kbsync.cli.options import Json, globals_of
from kbsync.console import print_json, print_table, say

if TYPE_CHECKING:
    from kbsync.experiments.running import Order
    from kbsync.standalone.target import Chosen

NAMES = "scaling, table, categories, mixtures, ablations, sequence, editors, election, stars"


def register(app: typer.Typer) -> None:
    app.command()(bench)


@dataclass(frozen=True)
class BenchModel(ModelOptions):
    """The model, and the text that its statistics and its perplexity are measured on."""

    model: Annotated[
        Path | None, typer.Option(help="Local Hugging Face directory; default: the bundled testbed.")
    ] = None
    corpus: Annotated[
        list[Path] | None, typer.Option(help="Ordinary text for the statistics; may be repeated.")
    ] = None
    heldout: Annotated[
        Path | None, typer.Option(help="Text that perplexity is measured on; default: samples of the model.")
    ] = None

    def chosen(self, context: typer.Context) -> Chosen:
        """The named model, or the testbed with its text."""
        from kbsync.experiments import testbed
        from kbsync.standalone.target import choose

        known = globals_of(context)
        own = self.model is None or testbed.is_testbed(self.model)
        return choose(
            known.home(),
            known.settings(required=False),
            model=testbed.PATH if own else self.model,
            file=self.settings,
            corpus=self.corpus or ([testbed.CORPUS] if own else []),
            device=self.device,
        )


@dataclass(frozen=True, slots=True)
class BenchSize:
    """How much is measured."""

    quick: Annotated[bool, typer.Option("--quick", help="Few facts and one seed: minutes on two cores.")] = (
        False
    )
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, help="Draws of facts; default: 3, with --quick 1.")
    ] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Report what is measured by then; the same command carries on. 0: what is stored; default: no "
            "limit.",
        ),
    ] = None
    editors: Annotated[
        str | None, typer.Option(help="Editors to compare, separated by commas; default: all installed ones.")
    ] = None


@grouped
def bench(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {NAMES}.")],
    model: BenchModel,
    size: BenchSize,
    facts: Annotated[
        Path | None,
        typer.Option(
            help="A data set to edit, such as CounterFact, or facts that the model may know. Default: what the "
            "testbed knows, or common knowledge."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for the table, the JSON and the plots.")] = Path(
        "bench"
    ),
    json: Json = False,
) -> None:
    """Measure what mass-editing does to a model: the paper's experiments, by default on the bundled testbed.

    Every trial is stored when it is done. Interrupted, the same command carries on; run again, it computes nothing
    twice. Homes that share a cache ([model] shared) divide the trials among the commands that run at the same time.
    """
    from kbsync.console import live_progress
    from kbsync.experiments.registry import experiment_named
    from kbsync.experiments.running import run

    experiment_named(name)
    chosen = model.chosen(context)
    order = _order(name, out, chosen, (model, size, facts))
    with live_progress() as progress:
        found = run(chosen, order, progress)
    if json:
        print_json(found)
    else:
        for table in found.tables:
            print_table(table.title, table.columns, [[_cell(item) for item in row] for row in table.rows])
        for note in found.notes:
            say(note)
    say(f"written: {', '.join(found.files)}")


def _cell(value: object) -> object:
    """Without the intervals, which the written table has."""
    from kbsync.experiments.scores import Measured

    return value.value if isinstance(value, Measured) else value


def _order(name: str, out: Path, chosen: Chosen, typed: tuple[BenchModel, BenchSize, Path | None]) -> Order:
    from editing.datasets import read_records, without_contradictions
    from kbsync.experiments import testbed
    from kbsync.experiments.running import Order

    model, size, facts = typed
    own = testbed.is_testbed(chosen.path)
    filtered = without_contradictions(read_records(facts)) if facts is not None else None
    if filtered is not None and (filtered.conflicts or filtered.duplicates):
        say(
            f"{facts}: {filtered.conflicts} facts contradict each other and are left out, {filtered.duplicates} repeat "
            "others"
        )
    return Order(
        name=name,
        out=out,
        quick=size.quick,
        seeds=size.seeds,
        minutes=size.minutes,
        editors=tuple(part.strip() for part in (size.editors or "").split(",") if part.strip()),
        variants=testbed.variants() if own else 0,
        heldout=model.heldout or (testbed.HELDOUT if own else None),
        records=filtered.records if filtered is not None else None,
        source=str(facts) if facts is not None else "",
        conflicts=filtered.conflicts if filtered is not None else 0,
        duplicates=filtered.duplicates if filtered is not None else 0,
    )
