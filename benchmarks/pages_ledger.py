"""A home with a million facts for `benchmarks/pages.py`: the demo's, live and buildable, with a large company's beside.

Everything is written by the ledger's own transitions, so its events, seals and tree are those of a ledger that grew:
`kbsync audit verify --tables` holds.  Of two facts of each slot one is superseded; of the others most are wanted and
wait for room, since the demo's have a higher priority, and the rest is held, quarantined or retracted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from editing.requests import prompt_key, render
from state import State
from state.records import BaseAnswer, FactStatus, NewFact, Slot, StoredEntity, StoredObservation

STEP = 5_000
"""Facts of one transaction."""
RELATIONS = {"wdt:P36": "The capital of {} is", "wdt:P6": "The head of government of {} is"}
SOURCES = ("crm", "erp", "hr")
START = datetime(2020, 1, 1, tzinfo=UTC)
STANDING: tuple[tuple[int, FactStatus, str], ...] = (
    (80, "wanted", "settled"),
    (88, "held", "settling"),
    (94, "quarantined", "conflict"),
    (100, "retracted", "gone"),
)
"""Of a hundred slots, up to which number the current fact has that status, with its reason's code."""


def fill(state: State, base: str, facts: int) -> None:
    """Adds so many facts, two for each slot, and the answers of the base `base` to the wanted ones."""
    gc.disable()  # millions of small rows that refer to nothing in circles
    try:
        for first in range(0, facts // 2, STEP // 2):
            _step(state, base, range(first, min(first + STEP // 2, facts // 2)))
            gc.collect(0)
    finally:
        gc.enable()


def _step(state: State, base: str, slots: Sequence[int]) -> None:
    """What a poll commits of these slots: their entities, prompts, statements and facts."""
    offered = [fact for number in slots for fact in _facts(number)]
    current = offered[1::2]
    with state.write() as tx:
        subjects = {one.subject: one.subject_label for one in current}
        tx.put_entities([StoredEntity(id, label) for id, label in subjects.items()], known={})
        tx.put_slots(Slot(f.subject, f.relation, f.subject_label, f.template, f.prompt_key) for f in current)
        tx.record([_statement(one) for one in current])
        written = tx.put_facts(offered, "intake", known={})
        wanted = [one.id for one in written if one.status == "wanted"]
        tx.put_base_answers(base, dict.fromkeys(wanted, BaseAnswer(False, "something else.")))


def _facts(number: int) -> Iterator[NewFact]:
    """The former fact of a slot and its current one."""
    subject, relation = f"crm:{number // 2:07}", list(RELATIONS)[number % 2]
    label, template = f"{WORDS[number // 2 % len(WORDS)]} {number // 2:07} Ltd", RELATIONS[relation]
    chance = number * 7919 % 100
    status, code = next((status, code) for below, status, code in STANDING if chance < below)
    source = SOURCES[number % len(SOURCES)]
    for version in (0, 1):
        value = (number * 13 + version * 7) % 20_000
        is_former = version == 0
        yield NewFact(
            subject,
            label,
            relation,
            f"crm:v{value}",
            f"Value {value}",
            template,
            prompt_key(render(template, label)),
            "superseded" if is_former else status,
            "a newer value" if is_former else code,
            source,
            number * 2 + version,
            f"{subject}-{relation}-{version}",
            held_until=START + timedelta(days=40_000) if status == "held" and not is_former else None,
            priority=-1,
            reason_code="superseded" if is_former else code,
            since=START + timedelta(seconds=number * 2 + version),
        )


def _statement(one: NewFact) -> StoredObservation:
    statements = f'[{{"id":"{one.statement}","kind":"entity","object":"{one.object}","references":2}}]'
    return StoredObservation(one.source, one.subject, one.relation, one.revision, START, START, statements)


WORDS = (
    "Acme",
    "Borealis",
    "Cobalt",
    "Dunmore",
    "Eastgate",
    "Fairway",
    "Granite",
    "Harbour",
    "Italvia",
    "Juniper",
)
"""Beginnings of subjects' labels."""
