"""Data sets in CounterFact's format, made from what a ledger or a file states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from editing.calibration.statements import WordedTriple, from_records
from editing.datasets import read_records
from editing.datasets.writing import write_counterfact
from kbsync.application import Application
from kbsync.errors import BadData
from kbsync.experiments.cases import counterfactual_cases
from kbsync.home import Home
from kbsync.settings.sections import Settings
from kbsync.standalone.calibrating import ledger_statements


@dataclass(frozen=True, slots=True)
class GeneratedSet:
    """What was written."""

    file: str
    entries: int
    relations: int
    facts: int
    """Facts that it was made from."""


def statements(home: Home, settings: Settings, facts: Path | None) -> tuple[WordedTriple, ...]:
    """The facts of a file, or those that the ledger wants; raises BadData if there are none."""
    if facts is not None:
        return from_records(read_records(facts))
    app = Application(home, settings)
    try:
        found = ledger_statements(app)
    finally:
        app.close()
    if not found:
        raise BadData(
            f"the ledger in {home.root} has no facts", "name a file with --facts, or another home with --home"
        )
    return found


def write(
    out: Path, facts: Sequence[WordedTriple], *, count: int | None = None, seed: int = 0
) -> GeneratedSet:
    """Write counterfactual edits of `facts`; raises DataError if none can be edited."""
    cases = counterfactual_cases(facts, seed=seed, most=count)
    write_counterfact(
        out, [replace(case.record, relation=case.relation, references=case.references) for case in cases]
    )
    return GeneratedSet(str(out), len(cases), len({case.relation for case in cases}), len(facts))
