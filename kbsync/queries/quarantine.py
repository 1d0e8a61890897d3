"""Facts that wait for a reviewer: selected by common properties, or one fact in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from editing.requests import prompt_key
from kbsync.application import Application
from kbsync.errors import NoSuchFact
from kbsync.intake.quarantine import Word
from kbsync.settings.in_force import is_stale, judged_under
from state import Snapshot
from state.errors import NotFound
from state.event_queries import EventFilter
from state.fact_queries import FactFilter
from state.paging import Page, page_of
from state.records import Decision, Event, Fact, Slot, StoredObservation


@dataclass(frozen=True, slots=True)
class Selection:
    """Properties by which facts are selected; if none is set, all facts are."""

    run: int | None = None
    """The run whose gates quarantined them."""
    gate: str | None = None
    relation: str | None = None
    source: str | None = None
    code: str | None = None
    """The reason's code."""
    stale: bool = False
    """Quarantined by a gate under other settings or on another base than the current ones."""

    def __bool__(self) -> bool:
        return self != Selection()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A fact that waits for a reviewer."""

    fact: Fact
    gate: str | None
    """The gate that quarantined it, if one did."""
    run: int | None
    stale: bool


def waiting(app: Application, selection: Selection, word: Word | None = None) -> list[Waiting]:
    """Facts that wait for a reviewer, by id.  For `reopen`: facts that are barred or rejected."""
    with app.state.read() as tx:
        found = [
            fact
            for fact in tx.chosen_facts(
                FactFilter(
                    None if word == "reopen" else "quarantined",
                    relation=selection.relation,
                    source=selection.source,
                    reason_code=selection.code,
                )
            )
            if _is_open(fact, word)
        ]
        evidence = tx.evidence(fact.id for fact in found)
        now, base = judged_under(app.settings, app.gates), _base(tx)
    listed = [_waiting(fact, evidence.get(fact.id, {}), now, base) for fact in found]
    return [one for one in listed if _is_selected(one, selection)]


def count_stale(app: Application, tx: Snapshot) -> int:
    """Facts that a gate put out under other settings, or on another base, than the current ones."""
    barred = tx.chosen_facts(FactFilter("quarantined", decision="barred"))
    evidence = tx.evidence(fact.id for fact in barred)
    now, base = judged_under(app.settings, app.gates), _base(tx)
    return sum(_waiting(fact, evidence.get(fact.id, {}), now, base).stale for fact in barred)


def _is_open(fact: Fact, word: Word | None) -> bool:
    if fact.status == "quarantined" and fact.decision != "rejected":
        return word != "reopen" or fact.decision == "barred"
    return word == "reopen" and fact.decision == "rejected"


def _waiting(fact: Fact, evidence: Mapping[str, Any], settings: str, base: str | None) -> Waiting:
    if fact.decision != "barred":
        return Waiting(fact, None, None, False)
    return Waiting(fact, evidence.get("gate"), evidence.get("run"), is_stale(evidence, settings, base))


def _base(tx: Snapshot) -> str | None:
    """The base in use: that of the newest run."""
    newest = tx.runs(limit=1)
    return newest[0].base if newest else None


def waiting_page(
    app: Application, selection: Selection, after: int = 0, limit: int = 50, *, examined: int = 2_000
) -> Page[Waiting]:
    """At most `limit` facts that wait for a reviewer, by id, from above `after` on.

    Only facts in quarantine are read, and only as many as the page needs, at most about `examined`.
    """
    found: list[Waiting] = []
    barred: Decision | None = (
        "barred" if selection.gate or selection.run is not None or selection.stale else None
    )
    chosen = FactFilter(
        "quarantined", selection.relation, None, selection.source, selection.code, decision=barred
    )
    going_on: int | None = after
    with app.state.read() as tx:
        now, base = judged_under(app.settings, app.gates), _base(tx)
        while going_on is not None and len(found) <= limit and examined > 0:
            facts = tx.facts_page(chosen, going_on, 4 * limit)
            evidence = tx.evidence(fact.id for fact in facts.rows if fact.decision == "barred")
            found += [
                one
                for fact in facts.rows
                if _is_open(fact, None)
                for one in [_waiting(fact, evidence.get(fact.id, {}), now, base)]
                if _is_selected(one, selection)
            ]
            going_on, examined = facts.next, examined - 4 * limit
    return page_of(tuple(found), limit, found[limit - 1].fact.id if len(found) > limit else None, going_on)


def _is_selected(one: Waiting, selection: Selection) -> bool:
    return (
        selection.run in (None, one.run)
        and selection.gate in (None, one.gate)
        and (one.stale or not selection.stale)
    )


@dataclass(frozen=True, slots=True)
class Rival:
    """Another fact of the same slot or with the same prompt."""

    fact: Fact
    why: str


@dataclass(frozen=True, slots=True)
class AskedProbe:
    """A probe that judges a fact, and the ledger's fact that the probe asks for."""

    kind: str
    prompt: str
    expected: str
    answer: str
    passed: bool | None
    """None: the probe has not been asked yet."""
    about: Fact | None
    """The fact that the probe asks for, if the ledger has it."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything a reviewer needs to know about one fact."""

    fact: Fact
    slot: Slot | None
    gate: str | None
    run: int | None
    round: int | None
    shortfall: float | None
    stale: bool
    answers: Mapping[str, str | None]
    """The answers of the base, live and the candidate to the fact's prompt, as far as they were asked."""
    questions: tuple[AskedProbe, ...]
    rivals: tuple[Rival, ...]
    stated: tuple[StoredObservation, ...]
    """The current observation of the slot by each source."""
    history: tuple[Event, ...]
    """The fact's events, newest first."""


def dossier(app: Application, fact_id: int) -> Dossier:
    """One fact with its evidence; raises NoSuchFact if no fact has this id."""
    with app.state.read() as tx:
        try:
            fact = tx.fact(fact_id)
        except NotFound as error:
            raise NoSuchFact(fact_id) from error
        pair = (fact.subject, fact.relation)
        evidence = tx.evidence([fact.id]).get(fact.id, {})
        base = _base(tx)
        asked = {} if base is None else tx.base_answers(base, [fact.id])
        answers = evidence.get("answers") or {"base": asked[fact.id].answer if fact.id in asked else None}
        gate = _waiting(fact, evidence, judged_under(app.settings, app.gates), base)
        return Dossier(
            fact=fact,
            slot=tx.slots([pair]).get(pair),
            gate=gate.gate,
            run=gate.run,
            round=evidence.get("round") if gate.gate else None,
            shortfall=evidence.get("shortfall") if gate.gate else None,
            stale=gate.stale,
            answers=answers,
            questions=_questions(tx, fact, evidence),
            rivals=_rivals(tx, fact),
            stated=tuple(tx.current([pair]).get(pair, ())),
            history=tuple(tx.recent_events(EventFilter(fact=fact.id))),
        )


def _questions(tx: Snapshot, fact: Fact, evidence: Mapping[str, Any]) -> tuple[AskedProbe, ...]:
    """The probes that the gates asked; if none were asked, those stored for the next build."""
    asked = [
        (p["kind"], p["prompt"], p["expected"], p["answer"], p["passed"]) for p in evidence.get("probes", ())
    ]
    asked = asked or [(probe.kind, probe.prompt, probe.target, "", None) for probe in tx.probes(fact.id)]
    return tuple(
        AskedProbe(kind, prompt, expected, answer, passed, _asked_for(tx, fact, kind, prompt))
        for kind, prompt, expected, answer, passed in asked
    )


def _asked_for(tx: Snapshot, fact: Fact, kind: str, prompt: str) -> Fact | None:
    """The newest other fact that this prompt asks for; None for paraphrases and aliases of the fact itself."""
    if kind in ("paraphrase", "alias"):
        return None
    found = [other for other in tx.find_by_prompt(prompt_key(prompt)) if other.id != fact.id]
    return max(found, key=lambda other: (other.status == "wanted", other.updated, other.id), default=None)


def _rivals(tx: Snapshot, fact: Fact) -> tuple[Rival, ...]:
    pair = (fact.subject, fact.relation)
    same_slot = [f for f in tx.facts_of([pair]).get(pair, ()) if f.id != fact.id]
    same_prompt = [f for f in tx.find_by_prompt(fact.prompt_key) if (f.subject, f.relation) != pair]
    return (
        *(Rival(other, "same slot") for other in same_slot),
        *(Rival(other, "same prompt") for other in same_prompt),
    )
