"""`kbsync calibrate`: the facts, the model and the budget in; settings, their proof and a report out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editing.calibration.judgement import Judgement, SearchPoint
from editing.calibration.statements import WordedTriple, common_knowledge, from_records
from editing.durable import make_directory, write_file
from editing.progress import Pace, TimedProgress
from kbsync import __version__
from kbsync.application import Application
from kbsync.console import plain
from kbsync.errors import UsageError
from kbsync.gates import Gate
from kbsync.home import Home
from kbsync.settings.sections import Settings
from kbsync.standalone import calibration_report
from kbsync.standalone.calibrated import Calibrated
from kbsync.standalone.calibration_settings import fragment, merged
from kbsync.standalone.commands import at_work, paced
from kbsync.standalone.target import Chosen

if TYPE_CHECKING:
    from editing.calibration.calibrate import Calibration
    from editing.calibration.finalists import Finalist

ENOUGH = 60
"""Statements of the ledger from which the common knowledge is not needed."""
NOT_MEASURED = frozenset({"canaries", "retention", "edited_retention", "fluency"})
"""Gates that judge something that a calibration has not: the operator's questions, live, sampled texts."""


@dataclass(frozen=True, slots=True)
class Task:
    """What was typed, besides the model."""

    budget: float
    """Minutes."""
    out: Path
    """The settings; the report and the figures are written next to it."""
    write: bool = False
    """Whether the settings are merged into the home's file."""


def statements_of(records: Sequence[Any] | None, app: Application) -> tuple[WordedTriple, ...]:
    """The statements to ask: those of a facts file; else those of the ledger and, if they are few, common knowledge."""
    if records is not None:
        return from_records(records)
    own = ledger_statements(app)
    return own if len(own) >= ENOUGH else (*own, *common_knowledge())


def ledger_statements(app: Application) -> tuple[WordedTriple, ...]:
    """The wanted facts of the ledger, worded by the catalogue; none without a ledger."""
    if app.settings.state.url is None and not app.home.database.exists():
        return ()
    with app.state.read() as tx:
        facts = tx.wanted()
    found = []
    for fact in facts:
        relation = app.catalogue.get(fact.relation)
        others = [t for t in relation.templates if t != fact.template] if relation else []
        question = relation.questions[0] if relation and relation.questions else ""
        found.append(
            WordedTriple(fact.subject_label, fact.relation, fact.target, (fact.template, *others), question)
        )
    return tuple(found)


def floors_of(gates: Sequence[Gate]) -> dict[str, float]:
    """The thresholds of the gates that a calibration can judge."""
    return {gate.name: gate.threshold for gate in gates if gate.enabled and gate.name not in NOT_MEASURED}


def calibrate(
    chosen: Chosen,
    statements: Sequence[WordedTriple],
    settings: Settings,
    task: Task,
    progress: TimedProgress,
) -> Calibrated:
    """Calibrate the chosen model, write settings, report and figures, and return what was found."""
    corpus = chosen.text()
    from editing.calibration.calibrate import CalibrationPlan
    from editing.calibration.calibrate import calibrate as search
    from editing.storage.loaded import load_base

    floors = floors_of(settings.gate_list())
    with at_work(chosen, "kbsync calibrate"):
        tell = paced(progress, Pace())
        found = search(
            CalibrationPlan(
                base=load_base(chosen.imported().directory, device=chosen.device, progress=tell),
                statements=statements,
                start=SearchPoint(chosen.settings, settings.plan.variants),
                floors=floors,
                cache=chosen.home.cache,
                corpus=corpus,
                heldout=settings.model.heldout,
                budget=task.budget * 60,
            ),
            progress=tell,
        )
    return _published(chosen, found, floors, task)


def _published(chosen: Chosen, found: Calibration, floors: dict[str, float], task: Task) -> Calibrated:
    """Write everything, and return it."""
    from editing.calibration.intervals import score_change
    from editing.calibration.judgement import margin

    make_directory(task.out.resolve().parent)
    page = task.out.with_suffix(".html")
    written = fragment(found, today=date.today(), version=__version__)
    if task.write:
        merged(chosen.home.config, written)
    result = Calibrated(
        base=found.base,
        settings=written,
        scores={"before": found.before.measures(), "after": found.after.measures()},
        intervals=calibration_report.intervals(found.after),
        change=score_change(found.before, found.after),
        kept=found.refused is not None,
        capacity=[_point(point.n, point.edits, point.judged) for point in found.points],
        report=str(page),
        file=str(task.out),
        written=str(chosen.home.config) if task.write else "",
        facts=_facts(found),
        trials=[_trial(trial) for trial in found.trials],
        finalists=[_finalist(found, one) for one in found.finalists],
        unfinished=tuple(dict.fromkeys(one.stage for one in found.left_out)),
        left_out=[asdict(one) for one in found.left_out],
        failing={name: value for name, value in margin(found.after, floors).items() if value < 0},
        capacity_facts=found.capacity.facts,
        seconds=found.seconds,
    )
    write_file(task.out, merged_text(written).encode())
    write_file(task.out.with_suffix(".json"), (json.dumps(plain(result), indent=1) + "\n").encode())
    write_file(page, calibration_report.page(found, result, floors).encode())
    return result


def merged_text(written: dict[str, Any]) -> str:
    """The settings as a file of their own."""
    import tomlkit

    from kbsync.standalone.calibration_settings import comment

    document = tomlkit.document()
    document.add(tomlkit.comment(comment(written)))
    for section, values in written.items():
        document[section] = values
    return tomlkit.dumps(document)


def _point(n: int, edits: int, judged: Judgement) -> dict[str, Any]:
    return {"n": n, "edits": edits, **judged.measures()}


def _facts(found: Calibration) -> dict[str, Any]:
    known = found.known
    return {
        "digest": found.facts,
        "given": known.given,
        "known": len(known.known),
        "unknown": len(known.unknown),
        "left_out": {reason: len(some) for reason, some in known.traps.items()},
        "edits": {name: len(split.edits) for name, split in found.splits.items()},
    }


def _trial(trial: Any) -> dict[str, Any]:
    measured = trial.judgement.measures() if trial.judgement else {}
    shown = {"stage": trial.stage, "changed": trial.changed, "rank": trial.rank, "checked": trial.checked}
    shown["seconds"] = trial.seconds
    return shown | {"error": trial.error, "measures": measured, "variants": trial.candidate.variants}


def _finalist(found: Calibration, one: Finalist) -> dict[str, Any]:
    from editing.calibration.alternatives import difference

    changed = difference(found.start, one.trial.fixed)
    return {"changed": changed, "facts": one.facts, "S": one.s, "behind": one.behind, "error": one.error}


def output(home: Home, chosen: Chosen, out: Path | None, *, write: bool, settings: Settings) -> Path:
    """The file for the settings: as typed, or named after the model in the home.

    Raises UsageError before any work begins if the settings could not be written there, or not be merged.
    """
    base = settings.model.path
    if write and (base is None or base.resolve() != chosen.path.resolve()):
        raise UsageError(
            f"--write sets the home's settings, whose base is {base or 'not configured'}, not {chosen.path}",
            "set [model] path to the model first, or leave --write out and use the file with --settings",
        )
    if out is None:
        return home.calibration / f"{chosen.path.resolve().name}.toml"
    if out.suffix != ".toml":
        raise UsageError(
            f"--out {out} does not end in .toml", "name the file for the settings, such as found.toml"
        )
    if out.is_dir():
        raise UsageError(f"--out {out} is a directory", "name a file in it, such as found.toml")
    return out
