"""The capacity that a calibration predicts, beside what real builds then pass their gates with.

    OMP_NUM_THREADS=1 python -m benchmarks.capacity

Both edit the bundled model with its settings.  Predicted: the last stage of `kbsync calibrate` (`curve`, `capacity`).
Measured: views of n edits and of what the base knows besides are built, written and judged by the worker's own rounds
and the default gates, without a live checkpoint.  Both take their edits from the same list, in its order.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from benchmarks.calibrate import statements_of
from editing.calibration.capacity import Capacity, Point, capacity, curve
from editing.calibration.counterfactuals import Counterfactual, Split, counterfactuals
from editing.calibration.judgement import SearchPoint, margin
from editing.calibration.knowledge import knowledge
from editing.calibration.laboratory import Laboratory
from editing.calibration.statements import WordedTriple
from editing.model.architectures import described
from editing.spec import BuildReport, BuildSpec, Case, FactSpec
from editing.storage.loaded import LoadedBase, load_base
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from kbsync.demo.setting import MODEL, TEXT
from kbsync.gates import DEFAULT_GATES, GateVerdict, judge_all
from kbsync.home import Home
from kbsync.settings.base_model import edit_settings_of, import_base
from kbsync.settings.sections import EditOverrides
from kbsync.standalone.calibrating import floors_of

RESULTS = Path(__file__).parent / "results"
VARIANTS = 1
"""Further wordings that each fact is edited with, as in the demo's home."""
SIZES = (10, 30, 60, 80, 100, 130, 170, 220, 300)
ORDER = ("test", "check", "search", "further")
SHOWN = ("efficacy", "paraphrase", "neighbourhood", "same_subject", "known_retention", "perplexity_ratio")


@dataclass(frozen=True)
class Subject:
    """The base, what it knows, and the edits of it."""

    home: Home
    directory: Path
    base: LoadedBase
    known: Sequence[WordedTriple]
    splits: Sequence[Split]
    candidate: SearchPoint

    @property
    def edits(self) -> list[Counterfactual]:
        return [edit for split in self.splits for edit in split.edits]


def subject(home: Home, most: int) -> Subject:
    """The bundled model in a home of its own, and at most `most` edits of it."""
    directory = import_base(MODEL, home.prepare(), EditOverrides()).directory
    base = load_base(directory)
    candidate = SearchPoint(edit_settings_of(MODEL), VARIANTS)
    known = knowledge(
        base.model, base.tokenizer, statements_of(MODEL, None), described=described(candidate.settings)
    ).known
    found = counterfactuals(known, seed=0)
    splits = []
    for name in ORDER:
        some = found[name].edits[:most]
        splits.append(replace(found[name], edits=some))
        most -= len(some)
    return Subject(home, directory, base, known, splits, candidate)


def predicted(about: Subject, seconds: float) -> tuple[list[Point], Capacity]:
    """As the last stage of a calibration predicts it."""
    laboratory = Laboratory(
        about.base, about.home.cache, (TEXT / "corpus.txt",), TEXT / "heldout.txt", lambda *_: None
    )
    laboratory.prepare(about.candidate)
    floors = floors_of(DEFAULT_GATES)
    points, left = curve(laboratory, about.candidate, about.splits, floors, ends=time.monotonic() + seconds)
    assert not left, left
    return points, capacity(points, floors)


def view(about: Subject, n: int, number: int) -> BuildSpec:
    """A view of the first `n` edits and of what the base knows besides."""
    edits = about.edits[:n]
    changed = {(edit.statement.subject, edit.statement.relation) for edit in edits}
    known = [one for one in about.known if (one.subject, one.relation) not in changed]
    facts = [*(_edited(edit) for edit in edits), *(_known(one) for one in known)]
    return BuildSpec(
        run=f"capacity-{number}",
        base=str(about.directory),
        base_digest=about.base.digest,
        out=str(about.home.checkpoint(f"capacity-{number}")),
        cache=str(about.home.cache),
        corpus=(str(TEXT / "corpus.txt"),),
        heldout=str(TEXT / "heldout.txt"),
        facts=tuple(facts),
        settings=about.candidate.settings,
        threads=1,
        device="cpu",
    )


def _edited(edit: Counterfactual) -> FactSpec:
    one = edit.statement
    return FactSpec(
        id=edit.id,
        prompt=one.templates[0],
        subject=one.subject,
        target=edit.object,
        previous=one.object,
        known=False,
        base_answer=one.object,
        variants=one.templates[1 : 1 + VARIANTS],
        paraphrases=one.paraphrases[VARIANTS:],
        neighbours=tuple(Case(near.prompt) for near in edit.neighbours),
        same_subject=tuple(Case(other.prompt) for other in edit.same_subject),
    )


def _known(one: WordedTriple) -> FactSpec:
    return FactSpec(
        id=f"{one.subject} · {one.relation} · known",
        prompt=one.templates[0],
        subject=one.subject,
        target=one.object,
        known=True,
        base_answer=one.object,
    )


def built(about: Subject, n: int, number: int, workshop: Workshop) -> tuple[GateVerdict, ...]:
    """What the gates say of a real build of `n` edits."""
    spec = view(about, n, number)
    path = about.home.root / "rounds" / str(number) / "spec.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    spec.write(path)
    report = BuildReport.read(workshop.round(path))
    return judge_all(DEFAULT_GATES, report.measures)


def measured(about: Subject, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """A row a size, until a build of each of two sizes fails: what lies beyond is not asked."""
    workshop = Workshop(Channel(StringIO()))
    rows: list[dict[str, Any]] = []
    for number, n in enumerate(size for size in sizes if size <= len(about.edits)):
        verdicts = built(about, n, number, workshop)
        values = {one.name: one.value for one in verdicts if one.value is not None and one.n}
        failed = [one.name for one in verdicts if not one.passed]
        rows.append({"n": n, "failed": failed, **values})
        print(json.dumps(rows[-1]), flush=True)
        if len(rows) > 1 and failed and rows[-2]["failed"]:
            break
    return rows


def held(rows: Sequence[dict[str, Any]]) -> tuple[int, int | None]:
    """(the largest n before the first that fails, that first one)."""
    first = next((row["n"] for row in rows if row["failed"]), None)
    passing = [row["n"] for row in rows if first is None or row["n"] < first]
    return max(passing, default=0), first


def table(points: Sequence[Point], rows: Sequence[dict[str, Any]], floors: dict[str, float]) -> str:
    """Both in one table."""
    lines = ["| n | by | gates that fail | " + " | ".join(SHOWN) + " |", "|---" * (3 + len(SHOWN)) + "|"]
    both = [(point.n, "calibration", _failing(point, floors), point.judged.measures()) for point in points]
    both += [(row["n"], "run", row["failed"], row) for row in rows]
    for n, by, failed, values in sorted(both, key=lambda one: (one[0], one[1])):
        cells = [f"{values[name]:.3f}" if name in values else "" for name in SHOWN]
        lines.append(f"| {n} | {by} | {', '.join(failed)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _failing(point: Point, floors: dict[str, float]) -> list[str]:
    return [name for name, value in margin(point.judged, floors).items() if value < 0]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--edits", type=int, default=300, help="at most")
    parser.add_argument("--home", type=Path, help="where residuals and trials are kept, to go on later")
    parser.add_argument("--seconds", type=float, default=3_600.0, help="budget of the prediction")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    floors = floors_of(DEFAULT_GATES)
    with tempfile.TemporaryDirectory() as scratch:
        about = subject(Home(options.home or Path(scratch)), options.edits)
        points, found = predicted(about, options.seconds)
        print(found, [(point.n, point.worst(floors)) for point in points], flush=True)
        rows = measured(about, options.sizes)
    result = {
        "machine": "1 thread, CPU",
        "predicted": {"facts": found.facts, "at_least": found.at_least, "limited_by": found.limited_by},
        "held": held(rows),
        "points": [{"n": p.n, "failed": _failing(p, floors), **p.judged.measures()} for p in points],
        "runs": rows,
    }
    name = options.out / "capacity"
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    name.with_suffix(".md").write_text(table(points, rows, floors), encoding="utf-8")


if __name__ == "__main__":
    main()
