"""What `[plan] consequences = "edit"` is worth: two-hop and reversed answers against what it costs elsewhere.

    python -m benchmarks.derived [--home DIR] [--out DIR] [--facts N]

The edits of the demo's world (`gates_world.py`) are built into the bundled model twice: the facts alone, and also what
follows from them and the model does not infer.  Half of what follows from each fact is edited; the other half only
asked.  Differences have 95 % bootstrap intervals over facts.  With `--facts`, only so many facts are edited, drawn with
a seed.  Writes `derived.json`, `.md` and `.svg` under benchmarks/results, or `derived-N.*`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gates import RESULTS, prepared
from benchmarks.gates_world import Exam
from editing.consequence import Consequence
from editing.evaluation.bootstrap import means, middle, table_of, weights
from editing.evaluation.free_answers import free_answers, states
from editing.evaluation.view_names import ViewNames
from editing.model.weights import swapped
from editing.spec import BuildReport, FactSpec
from kbsync.application import Application
from kbsync.home import Home, RunDirectory
from kbsync.runs.bases import configured
from kbsync.runs.fact_specs import fact_specs
from kbsync.settings.loading import load as load_settings

EDITED, ASKED = 2, 4
"""Consequences of each kind of a fact that are edited (the default of `consequence_questions`), and asked in all."""
COSTS = (
    "efficacy",
    "paraphrase",
    "said",
    "neighbourhood",
    "same_subject",
    "known_retention",
    "perplexity_ratio",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One consequence, and whether it is among those that may be edited."""

    fact: str
    one: Consequence
    edited: bool


def wider(home: Path, edited: Sequence[FactSpec]) -> list[Asked]:
    """`ASKED` consequences of each kind and fact; the first ones are those that a build with `EDITED` edits."""
    own = Home(home)
    settings = load_settings(own.config)
    plan = settings.plan.model_copy(update={"consequences": "edit", "consequence_questions": ASKED})
    with Application(own, settings.model_copy(update={"plan": plan})) as app, app.state.read() as tx:
        run = tx.runs(limit=1)[0]
        facts = tx.view_facts(run.view)
        specs, _ = fact_specs(app, configured(app), facts, set())
    wanted = {fact.id for fact in edited}
    stated = wanted | {fact.id for fact in specs if fact.known}
    found = []
    for fact in specs:
        seen: dict[str, int] = {}
        sound = (one for one in fact.consequences if stated.issuperset(one.parents))
        for one in sound if fact.id in wanted else ():
            seen[one.kind] = seen.get(one.kind, 0) + 1
            found.append(Asked(fact.id, one, seen[one.kind] <= EDITED))
    return found


def measure(exam: Exam, edited: Sequence[FactSpec], asked: Sequence[Asked], mode: str) -> dict[str, Any]:
    """Build with the consequences reported or edited, and ask all of them."""
    by_fact: dict[str, list[Consequence]] = {}
    for item in asked:
        if item.edited:
            by_fact.setdefault(item.fact, []).append(item.one)
    facts = [replace(fact, in_live=False, consequences=tuple(by_fact.get(fact.id, ()))) for fact in edited]
    report = exam.built([*exam.known, *facts], live=None, edit_consequences=mode == "edit", generate=200)
    with swapped(exam.model, exam.tensors_of(report)):
        right = answered(exam, asked)
    figures = {one.name: one for one in report.measures}
    return {
        "consequences": mode,
        "derived": sum(len(fact.derived) for fact in report.facts),
        "groups": report.cost.groups,
        "right": right,
        "costs": {name: round(float(figures[name].value or 0.0), 4) for name in COSTS},
        "by_fact": _outcomes(report),
    }


def answered(exam: Exam, asked: Sequence[Asked]) -> list[bool]:
    """Whether the model, as it is now, answers each consequence freely."""
    names = ViewNames(exam.spec.facts)
    questions = [names.consequence(item.one) for item in asked]
    answers = free_answers(exam.model, exam.tokenizer, [question.prompt for question in questions])
    return [states(answer, question) for answer, question in zip(answers, questions, strict=True)]


def _outcomes(report: BuildReport) -> dict[str, dict[str, tuple[int, int]]]:
    """Measure → fact → (as expected, asked)."""
    return {
        name: {
            fact.id: (sum(fact.outcomes[name]), len(fact.outcomes[name]))
            for fact in report.facts
            if fact.outcomes.get(name)
        }
        for name in ("efficacy", "paraphrase", "said", "neighbourhood", "same_subject", "known_retention")
    }


GROUPS = (
    ("two_hop", True, "two hops, edited if not inferred"),
    ("two_hop", False, "two hops, never edited"),
    ("reversed", True, "the other way round, edited if not inferred"),
)
"""Kind, whether it is among those that are edited, and what the table calls it."""


def compared(
    asked: Sequence[Asked], base: Sequence[bool], runs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A line for each group of questions and each cost: report, edit, and the difference with its interval."""
    report, edit = runs
    lines = []
    for kind, edited, what in GROUPS:
        chosen = [n for n, item in enumerate(asked) if item.one.kind == kind and item.edited == edited]
        pairs = [{}, {}]
        for outcome, run in zip(pairs, runs, strict=True):
            for n in chosen:
                hits, total = outcome.get(asked[n].fact, (0, 0))
                outcome[asked[n].fact] = hits + run["right"][n], total + 1
        line = _line(what, *pairs)
        lines.append(line | {"base": [sum(base[n] for n in chosen), len(chosen)]})
    for name in report["by_fact"]:
        lines.append(_line(f"`{name}`", report["by_fact"][name], edit["by_fact"][name]))
    return lines


def _line(what: str, report: Mapping[str, Any], edit: Mapping[str, Any]) -> dict[str, Any]:
    """Shares of all questions, and the interval of the difference by a bootstrap over facts (of facts' means)."""
    facts = [fact for fact in report if fact in edit]
    rows = [[report[f][0] / report[f][1], edit[f][0] / edit[f][1]] for f in facts]
    drawn = means(table_of(rows, 2), weights(len(rows), 0))
    interval = middle(drawn[:, 1] - drawn[:, 0])
    return {
        "what": what,
        "facts": len(facts),
        "report": [sum(report[f][n] for f in facts) for n in (0, 1)],
        "edit": [sum(edit[f][n] for f in facts) for n in (0, 1)],
        "difference": None
        if interval is None
        else [round(float(drawn[0, 1] - drawn[0, 0]), 4), *_rounded(interval)],
    }


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]


def table(lines: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> str:
    """The comparison in Markdown."""
    text = ["| asked | base | `report` | `edit` | difference (95 % interval) |", "|---|---|---|---|---|"]
    for line in lines:
        shares = [f"{line[mode][0]} of {line[mode][1]}" for mode in ("report", "edit")]
        base = f"{line['base'][0]} of {line['base'][1]}" if "base" in line else ""
        middle_, low, high = line["difference"] or (0.0, 0.0, 0.0)
        text.append(
            f"| {line['what']} | {base} | {' | '.join(shares)} | {middle_:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    one, other = runs
    for name, what in (("derived", "statements that are edited as well"), ("groups", "key groups")):
        text.append(f"| {what} | | {one[name]} | {other[name]} | |")
    perplexities = [run["costs"]["perplexity_ratio"] for run in runs]
    text.append(f"| `perplexity_ratio` | | {perplexities[0]:.3f} | {perplexities[1]:.3f} | |")
    return "\n".join(text) + "\n"


def plot(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """The differences with their intervals."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 0.4 * len(lines) + 1.2))
    for y, line in enumerate(lines):
        if line["difference"]:
            value, low, high = line["difference"]
            axes.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", color="C0", capsize=3)
    axes.set_yticks(range(len(lines)), [line["what"].strip("`") for line in lines])
    axes.invert_yaxis()
    axes.axvline(0, color="0.6", lw=0.8)
    axes.set_xlabel("edit − report, mean over facts, 95 % interval")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, help="keep the home here, and use it again")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--facts", type=int, help="edit only so many facts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="kbsync-derived-") as scratch:
        root = options.home or Path(scratch) / "world"
        exam = Exam(RunDirectory(prepared(root)), Path(scratch))
        edited = [*exam.old, *exam.new]
        if options.facts is not None:
            edited = random.Random(0).sample(edited, options.facts)
        asked = wider(root / "home", edited)
        base = answered(exam, asked)
        runs = [measure(exam, edited, asked, mode) for mode in ("report", "edit")]
    lines = compared(asked, base, runs)
    result = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, torch {torch.__version__}",
        "facts": len(edited),
        "lines": lines,
        "runs": [
            {name: run[name] for name in ("consequences", "derived", "groups", "costs")} for run in runs
        ],
    }
    name = options.out / ("derived" if options.facts is None else f"derived-{options.facts}")
    name.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    name.with_suffix(".md").write_text(table(lines, runs), encoding="utf-8")
    plot(lines, name.with_suffix(".svg"))
    print(table(lines, runs))


if __name__ == "__main__":
    main()
