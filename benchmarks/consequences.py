"""What the promoted facts of a demo lead to: free answers, other names, two hops, and the other way round.

    kbsync --home demo-home demo
    python -m benchmarks.consequences --home demo-home [--out DIR] [--exam]

Base and live answer the questions about every fact that live was edited with; beside them stands what the earlier
gates went by: the strict argmax on the fact's own prompt, and whether its object occurs anywhere in one sampled text.
`--exam` judges the largest run once more with and without the questions about consequences and other names, and times
both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from editing.evaluation.free_answers import FreeQuestion, free_answers, states
from editing.evaluation.generation import generate
from editing.evaluation.measures.of_facts import following, renamed, unseen
from editing.evaluation.scoring import encode_targets, score
from editing.evaluation.view_names import ViewNames
from editing.evaluation.words import contains
from editing.model.weights import swapped
from editing.requests import render
from editing.spec import BuildReport, BuildSpec, FactSpec
from editing.storage.checkpoints import read_changed
from editing.storage.loaded import load_base
from editing.worker.protocol import Channel
from editing.worker.rounds import Workshop
from kbsync.application import Application
from kbsync.home import Home
from kbsync.runs.bases import configured
from kbsync.runs.fact_specs import fact_specs
from kbsync.settings.loading import load as load_settings

ASKS = {
    "said": unseen,
    "aliases": renamed,
    "reversed": following("reversed"),
    "symmetric": following("symmetric"),
    "two_hop": following("two_hop"),
}
"""Kind of question → the questions about a fact."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One question, and what base and live answer freely."""

    kind: str
    prompt: str
    expected: str
    base: str
    live: str
    base_states: bool
    live_states: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One fact that live was edited with."""

    prompt: str
    target: str
    strict: bool
    """The earlier gate: every token of the object is the strict argmax."""
    mentioned: bool
    """The earlier gate: its object occurs somewhere in a sampled text."""
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions about one fact, by kind."""

    fact: FactSpec
    questions: Mapping[str, Sequence[FreeQuestion]]


def questions(specs: Sequence[FactSpec]) -> list[Asked]:
    """All free questions about the facts."""
    names = ViewNames(specs)
    return [
        Asked(
            fact, {kind: [names.question(fact, case) for case in asks(fact)] for kind, asks in ASKS.items()}
        )
        for fact in specs
    ]


def measure(home: Home) -> dict[str, Any]:
    """Ask base and live about every fact of the live checkpoint in `home`."""
    with Application(home, load_settings(home.config)) as app:
        with app.state.read() as tx:
            live = tx.live()
            if live is None:
                raise SystemExit(f"{home.root} has no live checkpoint: run `kbsync --home {home.root} demo`")
            facts = tx.view_facts(live.view)
        base = configured(app)
        specs, _ = fact_specs(app, base, facts, set())
        directory = home.checkpoint(live.path)
    edited = [one for one in questions(specs) if not one.fact.known]
    known = [one for one in questions(specs) if one.fact.known and one.fact.consequences]
    loaded = load_base(base.directory)
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = list(
        {q.prompt: q for one in (*edited, *known) for some in one.questions.values() for q in some}
    )
    own = [render(one.fact.prompt, one.fact.subject) for one in edited]
    before = dict(zip(prompts, free_answers(model, tokenizer, prompts), strict=True))
    with swapped(model, read_changed(base.directory, directory)):
        after = dict(zip(prompts, free_answers(model, tokenizer, prompts), strict=True))
        scores = score(
            model,
            encode_targets(tokenizer, [(p, one.fact.target) for p, one in zip(own, edited, strict=True)]),
        )
        texts = generate(model, tokenizer, own)
    rows = [
        Row(
            prompt,
            one.fact.target,
            found.strict,
            contains(text.answer, one.fact.target),
            _answers(one, before, after),
        )
        for prompt, one, found, text in zip(own, edited, scores, texts, strict=True)
    ]
    unaided = [answer for one in known for answer in _answers(one, before, after)]
    return {"figures": figures(rows, unaided), "facts": [asdict(row) for row in rows]}


def _answers(one: Asked, before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Answer, ...]:
    return tuple(
        Answer(
            kind,
            question.prompt,
            question.names[0],
            before[question.prompt],
            after[question.prompt],
            states(before[question.prompt], question),
            states(after[question.prompt], question),
        )
        for kind, some in one.questions.items()
        for question in some
    )


def figures(rows: Sequence[Row], unaided: Sequence[Answer]) -> dict[str, Any]:
    """The shares by kind of question; `unaided` are about facts that the base states."""
    found: dict[str, Any] = {
        "facts": len(rows),
        "strict": sum(row.strict for row in rows),
        "mentioned": sum(row.mentioned for row in rows),
    }
    for kind in ASKS:
        asked = [answer for row in rows for answer in row.answers if answer.kind == kind]
        able = [answer for answer in unaided if answer.kind == kind]
        found[kind] = {
            "questions": len(asked),
            "base": sum(answer.base_states for answer in asked),
            "live": sum(answer.live_states for answer in asked),
            "base_on_its_own_facts": sum(answer.base_states for answer in able),
            "of": len(able),
        }
    return found


def table(found: Mapping[str, Any]) -> str:
    """The figures and every promoted fact, as Markdown."""
    numbers = found["figures"]
    lines = [
        "| questions | asked | base states | live states | base, about facts that it states |",
        "|---|---|---|---|---|",
    ]
    for kind in ASKS:
        one = numbers[kind]
        able = f"{one['base_on_its_own_facts']} of {one['of']}"
        lines.append(f"| {kind} | {one['questions']} | {one['base']} | {one['live']} | {able} |")
    lines += [
        "",
        f"The earlier gates passed {numbers['strict']} of {numbers['facts']} facts by the strict argmax, and "
        f"{numbers['mentioned']} since their object occurs in a sampled text.",
        "",
        "| fact | argmax | in a text | " + " | ".join(ASKS) + " |",
        "|---|---|---|" + "---|" * len(ASKS),
    ]
    for row in found["facts"]:
        cells = [_cell([one for one in row["answers"] if one["kind"] == kind]) for kind in ASKS]
        passed = ["yes" if row[name] else "no" for name in ("strict", "mentioned")]
        lines.append(f"| {row['prompt']} **{row['target']}** | " + " | ".join((*passed, *cells)) + " |")
    return "\n".join(lines) + "\n"


def _cell(answers: Sequence[Mapping[str, Any]]) -> str:
    """What live answers, base's answer behind it."""
    return "<br>".join(
        f"{'✓' if one['live_states'] else '✗'} {one['prompt']} *{one['live']}* (base: {one['base']})".replace(
            "|", "\\|"
        ).replace("\n", " ")
        for one in answers
    )


def exam_seconds(home: Home) -> dict[str, float]:
    """Seconds to judge the run with most new consequences again, with and without them: the faster of two."""
    with Application(home, load_settings(home.config)) as app, app.state.read() as tx:
        kept = {one.run: home.checkpoint(one.path) for one in tx.checkpoints()}
        rounds = [home.round(run, tx.run(run).round).spec for run, path in kept.items() if path.is_dir()]
    spec = max(
        (BuildSpec.read(file) for file in rounds),
        key=lambda spec: sum(len(fact.consequences) for fact in spec.facts if not fact.in_live),
    )
    spec = replace(spec, mode="judge", live=None)
    without = tuple(replace(fact, consequences=(), renamed=()) for fact in spec.facts)
    found: dict[str, float] = {"questions": sum(len(fact.consequences) for fact in spec.facts)}
    for name, one in 2 * [("without", replace(spec, facts=without)), ("with", spec)]:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "spec.json"
            one.write(file)
            report = BuildReport.read(Workshop(Channel(StringIO())).round(file))
        seconds = report.cost.seconds["judge"]
        found[name] = min(found.get(name, seconds), seconds)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--home", type=Path, required=True, help="a home that `kbsync demo` left behind")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--exam", action="store_true", help="time the exam as well")
    options = parser.parse_args(arguments)
    home = Home(options.home)
    found = measure(home)
    if options.exam:
        found["exam_seconds"] = exam_seconds(home)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "consequences.json").write_text(
        json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (options.out / "consequences.md").write_text(
        f"# What the demo's promoted facts lead to\n\n{table(found)}", encoding="utf-8"
    )
    print(json.dumps(found["figures"], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
