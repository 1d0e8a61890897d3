"""One experiment from its options to its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.calibration.statements import WordedTriple, common_knowledge, digest
from editing.calibration.statements import from_records as statements_of
from editing.datasets import Record
from editing.model.directory import called
from editing.progress import Pace, TimedProgress
from kbsync.catalogue.relations import Catalogue
from kbsync.demo.world import load
from kbsync.experiments import report, testbed
from kbsync.experiments.cases import EditCase, from_records
from kbsync.experiments.consequences import Background, common_catalogue
from kbsync.experiments.drawing import require_matplotlib
from kbsync.experiments.limits import TimeLimit
from kbsync.experiments.registry import experiment_named
from kbsync.experiments.setup import MEMIT, Setup
from kbsync.standalone.commands import at_work, paced
from kbsync.standalone.target import Chosen

if TYPE_CHECKING:
    from kbsync.experiments.measuring import Bench

IN_SEQUENCE = "_sequence"
"""End of the names of editors that edit in turns; the experiment `sequence` is about these."""
SEEDS = {True: 1, False: 3}
"""Seeds by whether the run is quick."""


@dataclass(frozen=True, slots=True)
class Order:
    """What was typed, besides the model."""

    name: str
    out: Path
    quick: bool = False
    seeds: int | None = None
    editors: tuple[str, ...] = ()
    """Empty: all that are installed."""
    variants: int = 0
    minutes: float | None = None
    """After so long, what is measured is reported, and the rest left out; None: no limit."""
    heldout: Path | None = None
    records: tuple[Record, ...] | None = None
    """A data set to edit, or facts that the model may know; None: the testbed's world, or common knowledge."""
    source: str = ""
    """Where the records come from."""
    conflicts: int = 0
    """Records that were left out because they contradict each other (Eqn. 5)."""
    duplicates: int = 0
    """Records that say again what another one says."""


@dataclass(frozen=True, slots=True)
class BenchOutcome:
    """What an experiment wrote."""

    experiment: str
    title: str
    files: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[report.TextTable, ...]


def run(chosen: Chosen, order: Order, progress: TimedProgress) -> BenchOutcome:
    """Run an experiment on the chosen model, and write its files to `order.out`.

    Raises UsageError for an unknown experiment or editor, DataError if there is too little that the model knows.
    """
    experiment = experiment_named(order.name)
    require_matplotlib()
    editors = _editors(order.editors)
    limit = TimeLimit(order.minutes)
    from editing.storage.loaded import load_base
    from kbsync.experiments.measuring import Bench

    with at_work(chosen, "kbsync bench"):
        tell = paced(progress, Pace())
        base = load_base(chosen.imported().directory, device=chosen.device, progress=tell)
        bench = Bench(base, chosen.home.cache, chosen.text(), order.heldout, tell, limit=limit)
        setup = _with_facts(
            Setup(
                bench=bench,
                settings=chosen.settings,
                variants=order.variants,
                known=(),
                given=(),
                relation_names={},
                editors=editors,
                seeds=tuple(range(order.seeds or SEEDS[order.quick])),
                quick=order.quick,
            ),
            chosen,
            order,
        )
        found = experiment(setup)
    if limit.left_out:
        found = replace(found, notes=(*found.notes, _unmeasured(len(limit.left_out))))
    files = report.write(order.out, order.name, found, _about(chosen, order, setup))
    return BenchOutcome(
        order.name, found.title, tuple(map(str, files)), tuple(found.notes), tuple(found.tables)
    )


def _unmeasured(count: int) -> str:
    which = "One trial was" if count == 1 else f"{count} trials were"
    return f"{which} not measured, because the time was up; the same command carries on."


def _editors(names: Sequence[str]) -> tuple[str, ...]:
    """The named editors, or all that edit a view at once, and retrieval; MEMIT first.

    Raises SpecError for an unknown one.
    """
    from editing.editors.registry import editors
    from kbsync.experiments.retrieving import RETRIEVAL, reuse_of

    for name in names:
        reuse_of(name)
    found = names or [*(name for name in editors() if not name.endswith(IN_SEQUENCE)), RETRIEVAL]
    return tuple(sorted(dict.fromkeys(found), key=lambda name: (name != MEMIT, name)))


def _with_facts(setup: Setup, chosen: Chosen, order: Order) -> Setup:
    """The setup with the facts of a data set, or with those that the model knows."""
    if order.records is not None and any(record.previous is not None for record in order.records):
        given = from_records(order.records)
        return replace(setup, given=given, bench=_practising(setup, (), given))
    from editing.calibration.knowledge import knowledge
    from editing.model.architectures import described

    base = setup.bench.base
    statements = _statements(chosen, order)
    known = knowledge(base.model, base.tokenizer, statements, described=described(chosen.settings)).known
    background = Background(known, _catalogue(chosen))
    bench = replace(_practising(setup, known, ()), background=background)
    return replace(setup, bench=bench, known=known, relation_names=_relation_names(chosen))


def _practising(setup: Setup, known: Sequence[WordedTriple], given: Sequence[EditCase]) -> Bench:
    from kbsync.experiments.practice import practice

    return replace(setup.bench, practice=partial(practice, known, given))


def _statements(chosen: Chosen, order: Order) -> tuple[WordedTriple, ...]:
    if order.records is not None:
        return statements_of(order.records)
    return testbed.world_statements() if testbed.is_testbed(chosen.path) else common_knowledge()


def _catalogue(chosen: Chosen) -> Catalogue:
    """How the consequences of facts are put into words."""
    return testbed.catalogue() if testbed.is_testbed(chosen.path) else common_catalogue()


def _relation_names(chosen: Chosen) -> dict[str, str]:
    if not testbed.is_testbed(chosen.path):
        return {}
    return {relation: wording.label for relation, wording in load().wordings.items()}


def _about(chosen: Chosen, order: Order, setup: Setup) -> dict[str, Any]:
    """What the results were measured with."""
    from editing.model.devices import input_device

    model = setup.bench.base.model
    device = input_device(model).type
    source = order.source or (
        "the demo's world of 1 January 2021" if testbed.is_testbed(chosen.path) else "common knowledge"
    )
    return {
        "model": {
            "name": "the bundled testbed" if testbed.is_testbed(chosen.path) else called(chosen.path),
            "digest": setup.bench.base.digest,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "architecture": type(model).__name__,
            "device": device,
        },
        "data": {
            "source": source,
            "conflicts": order.conflicts,
            "duplicates": order.duplicates,
            "digest": digest(setup.known) if setup.known else "",
            "known": len(setup.known),
            "editable": setup.available,
        },
        "seeds": list(setup.seeds),
        "quick": order.quick,
        "unmeasured": len(setup.bench.limit.left_out),
        "editors": list(setup.editors),
        "options": setup.searched(),
        "settings": setup.settings,
        "variants": setup.variants,
        "machine": report.machine(device),
        "versions": report.versions(),
    }
