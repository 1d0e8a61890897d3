"""The results of the story for each fact, from the ledger and from the answers of live."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kbsync.application import Application
from kbsync.console import print_table
from kbsync.gates import GateStanding, standing
from kbsync.queries.answers import Answer
from state.records import Fact

StoryVerdict = Literal["promoted", "known", "held", "quarantined", "retracted", "rejected"]


@dataclass(frozen=True, slots=True)
class StoryFact:
    subject: str
    relation: str
    prompt: str
    old: str
    """The slot's previous object, or the object itself if there is none."""
    new: str
    base_answer: str
    live_answer: str
    verdict: StoryVerdict
    reason: str


@dataclass(frozen=True, slots=True)
class StoryGate:
    run: int
    name: str
    value: float | None
    threshold: float
    passed: bool
    standing: GateStanding


@dataclass(frozen=True, slots=True)
class StoryRun:
    id: int
    state: str


Ask = Callable[[Application, Sequence[str]], Sequence[Answer]]
"""The answers of the base and of live to each prompt."""


def facts(app: Application, *, ask: Ask, known: bool = True) -> list[StoryFact]:
    """One row for each slot's current facts: old and new object, the models' answers, the verdict and its reason.

    Without `known`, those that the base already stated are left out, and no model is asked about them.
    """
    slots, verdicts = _current(app)
    shown = [(fact, verdict) for fact, verdict in verdicts if known or verdict != "known"]
    found = ask(app, [fact.prompt for fact, _ in shown])
    return [
        StoryFact(
            fact.subject,
            fact.relation,
            fact.prompt,
            _old(fact, slots[fact.subject, fact.relation]),
            fact.target,
            _cut(answer.base, fact.target),
            _cut(answer.live or "", fact.target),
            verdict,
            fact.reason,
        )
        for (fact, verdict), answer in zip(shown, found, strict=True)
    ]


def counts(app: Application) -> Counter[StoryVerdict]:
    """How many of the slots' current facts have each verdict; no model is asked."""
    return Counter(verdict for _, verdict in _current(app)[1])


def _current(
    app: Application,
) -> tuple[dict[tuple[str, str], list[Fact]], list[tuple[Fact, StoryVerdict]]]:
    """(the facts of each slot, those that are shown with their verdict)."""
    with app.state.read() as tx:
        everything = tx.facts()
        live = tx.live()
        held = {fact.id for fact in tx.view_facts(live.view)} if live else set()
        known = tx.known_facts(app.base.digest, [fact.id for fact in everything])
    slots: dict[tuple[str, str], list[Fact]] = {}
    for fact in everything:
        slots.setdefault((fact.subject, fact.relation), []).append(fact)
    shown = [fact for slot in slots.values() for fact in _shown(slot)]
    return slots, [(fact, _verdict(fact, fact.id in held, fact.id in known)) for fact in shown]


def _cut(answer: str, target: str) -> str:
    """`target` if the answer begins with it as whole words, because a small model may continue after it."""
    rest = answer.removeprefix(target)
    return target if rest != answer and not rest[:1].isalnum() else answer


def _shown(slot: Sequence[Fact]) -> list[Fact]:
    """The facts of a slot that are not superseded; the newest retracted one only if there are no others."""
    current = [fact for fact in slot if fact.status != "superseded"]
    retracted = [fact for fact in current if fact.status == "retracted"]
    others = [fact for fact in current if fact.status != "retracted"]
    return others or retracted[-1:]


def _old(fact: Fact, slot: Sequence[Fact]) -> str:
    earlier = [other for other in slot if other.id < fact.id]
    return max(earlier, key=lambda other: other.id).target if earlier else fact.target


def _verdict(fact: Fact, in_live: bool, known: bool) -> StoryVerdict:
    if fact.status == "wanted":
        return "known" if known else "promoted" if in_live else "held"
    if fact.status == "quarantined":
        return "rejected" if fact.reason_code == "gate" else "quarantined"
    return "held" if fact.status == "held" else "retracted"


def gates(app: Application) -> list[StoryGate]:
    with app.state.read() as tx:
        results = [result for run in reversed(tx.runs()) for result in tx.gate_results(run.id)]
    return [StoryGate(r.run, r.name, r.value, r.threshold, r.passed, standing(r)) for r in results]


def runs(app: Application) -> list[StoryRun]:
    with app.state.read() as tx:
        return [StoryRun(run.id, run.state) for run in reversed(tx.runs())]


def show(verdicts: Mapping[StoryVerdict, int], judged: Sequence[StoryGate], done: Sequence[StoryRun]) -> None:
    """Print the results of the story."""
    by_run: dict[int, list[StoryGate]] = {}
    for gate in judged:
        by_run.setdefault(gate.run, []).append(gate)
    print_table(
        "runs",
        ("run", "state", "gates"),
        ((run.id, run.state, _summary(by_run.get(run.id, ()))) for run in done),
    )
    print_table("facts", ("verdict", "how many"), sorted(verdicts.items()))


def _summary(judged: Sequence[StoryGate]) -> str:
    failed = [
        f"{g.name} {g.value:.3f} against {g.threshold:g}"
        for g in judged
        if not g.passed and g.value is not None
    ]
    if failed:
        return "failed: " + ", ".join(failed)
    standings = Counter(gate.standing for gate in judged)
    return ", ".join(
        f"{standings[name]} {name}" for name in ("passed", "not judged", "not judgeable") if standings[name]
    )
