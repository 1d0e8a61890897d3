"""What the base model believes against the ledger, before anything is edited: right, outdated, or unknown.

The base's own answers are in the ledger once it was asked (`kbsync survey`, or any sync); nothing is loaded here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from connectors.observations import LITERAL
from editing.folding import fold
from kbsync.application import Application
from kbsync.intake import statements
from state import Snapshot
from state.fact_queries import FactFilter
from state.records import BaseAnswer, Fact, SlotKey

Belief = Literal["right", "outdated", "unknown", "not asked"]
BELIEFS: tuple[Belief, ...] = ("right", "outdated", "unknown", "not asked")
MOST = 200
"""Outdated facts that are listed."""
AT_ONCE = 1_000
"""Facts that are compared at once."""


@dataclass(frozen=True, slots=True)
class SurveyLine:
    """One relation, or one source."""

    name: str
    counts: Mapping[Belief, int]


@dataclass(frozen=True, slots=True)
class OutdatedBelief:
    """A fact of which the base states an earlier value."""

    fact: Fact
    answer: str
    believed: str
    """The earlier value that the answer begins with."""


@dataclass(frozen=True, slots=True)
class Survey:
    """The base's beliefs about every wanted fact."""

    base: str
    """Its digest; empty if no base was imported yet."""
    counts: Mapping[Belief, int]
    relations: tuple[SurveyLine, ...]
    sources: tuple[SurveyLine, ...]
    outdated: tuple[OutdatedBelief, ...]
    """The first `MOST` of them."""


def survey(app: Application) -> Survey:
    """Compare the base's answers with what is wanted.

    `right`: the base states the fact.  `outdated`: its answer begins with a former value of the slot, one that was
    wanted before or that a source states as ended.  `unknown`: it answers something else.
    """
    found = _Tally()
    base, pages = _base(app), _wanted(app)
    for facts in pages:
        with app.state.read() as tx:
            answers = tx.base_answers(base, [fact.id for fact in facts])
            unsure = [fact for fact in facts if fact.id in answers and not answers[fact.id].known]
            former = _former_values(tx, unsure)
        for fact in facts:
            found.add(fact, answers.get(fact.id), former.get((fact.subject, fact.relation), ()))
    lines = _lines(found.relations), _lines(found.sources)
    return Survey(base, dict(found.total), *lines, tuple(found.outdated))


def _base(app: Application) -> str:
    """The digest of the base: the imported one, or that of the newest run."""
    imported = app.imported_base()
    if imported is not None:
        return imported.digest
    with app.state.read() as tx:
        newest = tx.runs(limit=1)
    return newest[0].base if newest else ""


def _wanted(app: Application) -> Iterator[tuple[Fact, ...]]:
    """The wanted facts by id, a page at a time, since there may be a million."""
    after: int | None = 0
    while after is not None:
        with app.state.read() as tx:
            page = tx.facts_page(FactFilter("wanted"), after, AT_ONCE)
        yield page.rows
        after = page.next


@dataclass
class _Tally:
    """What was counted so far."""

    total: Counter[Belief] = field(default_factory=Counter)
    relations: dict[str, Counter[Belief]] = field(default_factory=dict)
    sources: dict[str, Counter[Belief]] = field(default_factory=dict)
    outdated: list[OutdatedBelief] = field(default_factory=list)

    def add(self, fact: Fact, answer: BaseAnswer | None, former: Iterable[str]) -> None:
        earlier = _believed(answer, former)
        belief = _belief(answer, earlier)
        for counts in (
            self.total,
            self.relations.setdefault(fact.relation, Counter()),
            self.sources.setdefault(fact.source, Counter()),
        ):
            counts[belief] += 1
        if belief == "outdated" and answer is not None and len(self.outdated) < MOST:
            self.outdated.append(OutdatedBelief(fact, answer.answer, earlier))


def _lines(counted: Mapping[str, Counter[Belief]]) -> tuple[SurveyLine, ...]:
    return tuple(SurveyLine(name, dict(counts)) for name, counts in sorted(counted.items()))


def _belief(answer: BaseAnswer | None, earlier: str) -> Belief:
    if answer is None:
        return "not asked"
    if answer.known:
        return "right"
    return "outdated" if earlier else "unknown"


def _believed(answer: BaseAnswer | None, former: Iterable[str]) -> str:
    """The former value that the answer begins with, the longest one; empty if there is none."""
    if answer is None or answer.known:
        return ""
    said = fold(answer.answer)
    return max((one for one in former if said.startswith(fold(one))), key=len, default="")


def _former_values(tx: Snapshot, facts: Iterable[Fact]) -> dict[SlotKey, set[str]]:
    """What the slots of these facts held before, as text: earlier facts, and other statements of their sources."""
    wanted = {(fact.subject, fact.relation): fact for fact in facts}
    found: dict[SlotKey, set[str]] = {pair: set() for pair in wanted}
    for pair, rows in tx.facts_of(wanted).items():
        found[pair] |= {row.target for row in rows if row.target}
    objects: dict[SlotKey, set[str]] = {}
    for pair, stated in tx.current(wanted).items():
        loaded = (one for observation in stated for one in statements.load(observation.statements))
        objects[pair] = {one.object.id for one in loaded if one.object is not None}
    named = tx.entities({id for ids in objects.values() for id in ids if not id.startswith(LITERAL)})
    for pair, ids in objects.items():
        for id in ids:
            label = id.removeprefix(LITERAL) if id.startswith(LITERAL) else _label(named, id)
            found[pair] |= {label} if label else set()
    for pair, fact in wanted.items():
        found[pair] = {text for text in found[pair] if fold(text) != fold(fact.target)}
    return found


def _label(named: Mapping[str, object], id: str) -> str:
    return getattr(named.get(id), "label", None) or ""
