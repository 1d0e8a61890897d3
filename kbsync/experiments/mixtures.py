"""Facts of two relations together, against each relation by itself (Figures 7 and 10).

Four pairs are chosen: with the same or with different subjects, and with the same or with different objects, as far as
the data have such pairs.  The paper finds the mixture near the average of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Any

from kbsync.experiments.cases import EditCase
from kbsync.experiments.drawing import band, counts_axis, finish, scores_axis
from kbsync.experiments.measuring import EditTrial
from kbsync.experiments.report import Findings, gate_table, score_table
from kbsync.experiments.setup import MEMIT, Series, Setup, run

QUICK, FULL = (4, 12), (4, 8, 16, 32, 64, 100, 200, 300, 500, 700)
CANDIDATES = 16
"""Relations, those with most facts, among which pairs are looked for."""
MIXED = "both"
OVERLAP = 0.5
"""Two relations share their subjects if this share of the smaller one's is also among the other's; objects likewise."""


@dataclass(frozen=True, slots=True)
class RelationPair:
    """Two relations, and how they are alike."""

    one: str
    other: str
    same_subjects: bool
    same_objects: bool

    @property
    def kind(self) -> str:
        subjects, objects = (
            "same" if same else "different" for same in (self.same_subjects, self.same_objects)
        )
        return f"{subjects} subjects, {objects} objects"


def pairs(setup: Setup) -> list[RelationPair]:
    """One pair of each kind, if there is one: that with most facts in its smaller relation."""
    counts = setup.editable_relations()
    names = list(counts)[:CANDIDATES]
    subjects, objects = (_values(setup, names, which) for which in ("subject", "object"))
    found: dict[str, RelationPair] = {}
    for one, other in sorted(combinations(names, 2), key=lambda two: -min(counts[two[0]], counts[two[1]])):
        pair = RelationPair(
            one, other, _alike(subjects[one], subjects[other]), _alike(objects[one], objects[other])
        )
        found.setdefault(pair.kind, pair)
    return list(found.values())


def _values(setup: Setup, relations: Sequence[str], which: str) -> dict[str, set[str]]:
    if setup.given:
        rows = [
            (c.relation, c.subject if which == "subject" else str(c.record.previous)) for c in setup.given
        ]
    else:
        rows = [(one.relation, getattr(one, which)) for one in setup.known]
    return {relation: {value for own, value in rows if own == relation} for relation in relations}


def _alike(one: set[str], other: set[str]) -> bool:
    return len(one & other) >= OVERLAP * min(len(one), len(other))


def trials(setup: Setup) -> list[tuple[RelationPair, EditTrial]]:
    counts = setup.editable_relations()
    found = []
    for pair in pairs(setup):
        most = min(counts[pair.one], counts[pair.other])
        for n in [n for n in (QUICK if setup.quick else FULL) if n <= most] or [most]:
            for seed in setup.seeds:
                both = EditTrial(MIXED, setup.with_editor(MEMIT), (), n, setup.variants, seed)
                for line, cases in _sets(setup, seed, pair, n).items():
                    found.append((pair, replace(both, line=line, cases=cases)))
    return found


def _sets(setup: Setup, seed: int, pair: RelationPair, n: int) -> dict[str, tuple[EditCase, ...]]:
    """`n` facts of each relation, and half of each together."""
    one, other = setup.cases(seed, n, {pair.one}), setup.cases(seed, n, {pair.other})
    mixed = (*one[: n // 2], *other[: n - n // 2])
    edited = {(case.subject, case.record.request.prompt) for case in mixed}
    mixed = tuple(
        replace(case, protected=tuple(t for t in case.protected if (case.subject, t) not in edited))
        for case in mixed
    )
    return {setup.name(pair.one): one, setup.name(pair.other): other, MIXED: mixed}


def experiment(setup: Setup) -> Findings:
    planned = trials(setup)
    setup.bench.run([trial for _, trial in sorted(planned, key=lambda one: one[1].seed)])
    by_pair: dict[RelationPair, list[Series]] = {}
    for pair in dict.fromkeys(pair for pair, _ in planned):
        by_pair[pair] = run(setup, [trial for own, trial in planned if own == pair])
    tables = []
    for pair, series in by_pair.items():
        title = f"{setup.name(pair.one)} and {setup.name(pair.other)}: {pair.kind}"
        scores = score_table(title, series, "facts", ("S", "ES", "PS", "NS", "strict"))
        tables += [scores, gate_table(series, "facts")]
    results = [
        {"kind": pair.kind, "relations": [pair.one, pair.other], **one.entry()}
        for pair, series in by_pair.items()
        for one in series
    ]
    notes = [note for pair, series in by_pair.items() if (note := _note(pair, series))]
    notes = notes or ["There are no two relations whose facts can be edited and judged."]
    return Findings(
        "Facts of two relations edited together",
        tables,
        {"": partial(_draw, by_pair=by_pair)},
        results,
        notes,
    )


def _note(pair: RelationPair, series: Sequence[Series]) -> str:
    """The mixture with the most facts against the mean of its two relations."""
    last = {one.line: one for one in series}
    values = {line: value for line, one in last.items() if (value := one.measure("S")) is not None}
    if len(values) < len(last):
        return ""
    mixed = values.pop(MIXED)
    average = sum(one.value for one in values.values()) / len(values)
    where = "contains" if mixed.low <= average <= mixed.high else "does not contain"
    return f"{pair.kind}: S of the mixture is {mixed}, whose interval {where} the mean of the two, {average:.3f}."


def _draw(canvas: Any, by_pair: dict[RelationPair, list[Series]]) -> None:
    canvas.set_size_inches(4.2 * max(len(by_pair), 1), 4)
    axes = canvas.subplots(1, max(len(by_pair), 1), sharey=True, squeeze=False)[0]
    every = [
        value for series in by_pair.values() for one in series if (value := one.measure("S")) is not None
    ]
    lowest = min((value.low for value in every), default=0.0)
    for axis, (pair, series) in zip(axes, by_pair.items(), strict=False):
        lines = list(dict.fromkeys(one.line for one in series))
        for number, line in enumerate(lines):
            own = [one for one in series if one.line == line]
            points = [(float(one.at), value) for one in own if (value := one.measure("S")) is not None]
            band(axis, points, line, number)
        counts_axis(axis, sorted({float(one.at) for one in series}))
        scores_axis(axis, lowest)
        finish(axis, title=pair.kind, x="facts edited at once", y="S" if axis is axes[0] else "")
