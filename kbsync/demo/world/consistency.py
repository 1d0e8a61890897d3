"""Checks that the world's files must pass after every edit.

Every check yields sentences that name the culprit; an empty list is a sound world.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from kbsync.demo.world.demo_world import DemoWorld
from kbsync.demo.world.entries import WorldError
from kbsync.demo.world.statements import first_statements, moved

_ID = re.compile(r"demo:[a-z0-9]+(-[a-z0-9]+)*")
_SPELT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .&'-]*")
"""Plain letters, which a small vocabulary can spell."""
_AFTER_SUBJECT = re.compile(r"\{\}\W*")


def check(world: DemoWorld) -> list[str]:
    """Everything that is wrong with `world`."""
    found = [
        *_labels(world),
        *_references(world),
        *_facts(world),
        *_changes(world),
        *_cases(world),
        *_trials(world),
        *_newcomers(world),
        *_wordings(world),
    ]
    # A world with dangling names cannot be played through.
    return found or list(_play(world))


def _labels(world: DemoWorld) -> Iterator[str]:
    excused = {case.subject for case in world.awkward if case.rival}
    excused |= {move.object for case in world.awkward if case.kind == "same label" for move in case.moves}
    for entity in (*world.entities.values(), *world.invented.values()):
        if not _ID.fullmatch(entity.id):
            yield f"{entity.id} is not an id of the demo (demo:plain-letters)"
        if not _SPELT.fullmatch(entity.label) or entity.label != entity.label.strip():
            yield f"{entity.id}: the label {entity.label!r} is not in plain letters"
        if entity.label in entity.aliases or len(set(entity.aliases)) < len(entity.aliases):
            yield f"{entity.id}: an alias repeats another name"
    for label, ids in world.homonyms.items():
        if not excused & set(ids):
            yield f"{', '.join(ids)} are all called {label!r}, and no awkward case says so"


def _references(world: DemoWorld) -> Iterator[str]:
    rows = [(fact.slot, fact.object) for fact in world.facts_2021]
    rows += [(change.slot, change.object) for change in world.changes]
    rows += [(move.slot, move.object) for case in world.awkward for move in case.moves]
    rows += [(trial.move.slot, trial.move.object) for trial in world.trials]
    for (subject, relation), object in rows:
        for entity in (subject, object):
            if entity not in world.entities and entity not in world.invented:
                yield f"{subject} {relation}: there is no entity {entity}"
        if relation not in world.wordings:
            yield f"{subject} {relation}: the relation has no templates"
    used = {name for (subject, _), object in rows for name in (subject, object)}
    for entity in world.entities:
        if entity not in used:
            yield f"{entity} occurs in no fact"


def _facts(world: DemoWorld) -> Iterator[str]:
    for slot, count in Counter(fact.slot for fact in world.facts_2021).items():
        if count > 1:
            yield f"{' '.join(slot)} has {count} objects in 2021, one is wanted"


def _changes(world: DemoWorld) -> Iterator[str]:
    before = {fact.slot: fact for fact in world.facts_2021}
    for change in world.changes:
        name = f"the change of {' '.join(change.slot)}"
        old = before.get(change.slot)
        if old is None:
            yield f"{name}: the slot held nothing in 2021"
            continue
        if old.object == change.object:
            yield f"{name}: {change.object} held it before"
        if change.ended > change.day:
            yield f"{name}: the old one ends after the new one begins"
        if not 2021 <= change.ended.year <= change.day.year <= 2024:
            yield f"{name}: the dates are not all in 2021 to 2024"
        if old.start and old.start > change.ended:
            yield f"{name}: the old one ends before it began"
    for slot, count in Counter(change.slot for change in world.changes).items():
        if count > 1:
            yield f"{' '.join(slot)} changes {count} times; only the last holder belongs in changes.tsv"


def _cases(world: DemoWorld) -> Iterator[str]:
    changed = {change.slot for change in world.changes}
    for case in world.awkward:
        if case.moves and case.slot in changed:
            yield f"{' '.join(case.slot)} stands in changes.tsv and in awkward.toml"
        if case.also and not {case.slot, (case.subject, case.also)} <= changed:
            yield f"{case.kind}: both relations of {case.subject} must stand in changes.tsv"
        if case.rival and world.entities[case.rival].label != world.entities[case.subject].label:
            yield f"{case.kind}: {case.subject} and {case.rival} have different labels"
        if case.expect not in ("unchanged", "accepted", "retracted", "quarantined"):
            yield f"{case.kind}: {case.expect!r} cannot be expected"


def _trials(world: DemoWorld) -> Iterator[str]:
    busy = {move.slot for case in world.awkward for move in case.moves}
    for trial in world.trials:
        if trial.move.slot in busy:
            yield f"{' '.join(trial.move.slot)} is an awkward case and stands in hopeless.tsv"
        if trial.hopeless and trial.move.object in world.entities:
            yield f"{trial.move.object} is called invented but stands in entities.tsv"


def _newcomers(world: DemoWorld) -> Iterator[str]:
    """A person who becomes an object must be a subject in training text; otherwise a model cannot spell the name."""
    told = Counter(fact.subject for fact in world.facts_2021)
    for entity in world.entities.values():
        if entity.type == "person" and told[entity.id] < 2:
            yield f"{entity.id} is a person, and people.tsv does not say enough about them"
    known = set(told) | {fact.object for fact in world.facts_2021}
    for change in world.changes:
        if change.object not in known:
            yield f"{change.object} comes in with a change and no fact of 2021 names it"


def _wordings(world: DemoWorld) -> Iterator[str]:
    for wording in world.wordings.values():
        for template in wording.templates:
            if template.count("{}") != 1 or template != template.strip() or "  " in template:
                yield f"{wording.id}: the template {template!r} is malformed"
        if len(set(wording.templates)) < 5 or len(set(wording.close)) < 2:
            yield f"{wording.id}: five templates are wanted, two of them close"
        for template in wording.close:
            if not re.search(_AFTER_SUBJECT.pattern + r"\Z", template):
                yield f"{wording.id}: words stand between subject and object in {template!r}"
        for sentence in wording.inverse:
            if sentence.count("{object}") != 1 or sentence.count("{subject}") != 1:
                yield f"{wording.id}: the sentence {sentence!r} is malformed"


def _play(world: DemoWorld) -> Iterator[str]:
    slots = first_statements(world.facts_2021)
    for move in (*world.moves, *world.second_act):
        try:
            slots[move.slot] = moved(slots.get(move.slot, ()), move)
        except WorldError as error:
            yield str(error)
