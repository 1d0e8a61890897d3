"""The demo's world as a testbed wants it, and the two texts that travel with the model."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.testbed.corpus import Fact, World, filler, sentence
from benchmarks.testbed.quality import Edit
from kbsync.demo.world import DemoWorld, load

NOT_COUNTABLE = "occupation"
"""'A monarch is a occupation' is no sentence: such names are only mentioned."""
SENTENCES_A_LINE = 6
ORDINARY = 2_000
"""Ordinary sentences in the statistics corpus."""
HELDOUT_LINES = 80
OCCUPATION = "wdt:P106"
PRACTISED = ("country", "company", "club")
"""Types of imaginary subjects."""
_STARTS = (
    "b",
    "br",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pr",
    "r",
    "s",
    "st",
    "t",
    "v",
    "z",
)
_VOWELS = ("a", "e", "i", "o", "u", "au", "ei", "ou")
_ENDS = ("l", "m", "n", "r", "s", "x", "nd", "rk", "th")


def demo_world() -> World:
    """What is true on 1 January 2021.

    Where two entities have one label and both have a relation, only the first one's fact is taught:
    they are one prompt to a model.
    """
    world = load()
    facts: dict[tuple[str, str], str] = {}
    for fact in world.facts_2021:
        facts.setdefault((world.label(fact.subject), fact.relation), world.label(fact.object))
    entities = world.entities.values()
    practice, imaginary = practice_world()
    return World(
        practice=practice,
        facts=tuple((subject, relation, object_) for (subject, relation), object_ in facts.items()),
        templates={wording.id: wording.templates for wording in world.wordings.values()},
        kinds={entity.label: entity.type for entity in entities if entity.type != NOT_COUNTABLE} | imaginary,
        names=tuple(entity.label for entity in entities if entity.type == NOT_COUNTABLE),
    )


def practice_world(seed: int = 0) -> tuple[tuple[Fact, ...], dict[str, str]]:
    """Facts about imaginary countries, companies and clubs, and what each is.

    Real corpora show a name in many roles before it takes an office; this world of a thousand facts does
    not, and what was never the object of a relation can hardly be made so by an edit.  So every entity that
    could be an object of a relation is one once, of a subject that does not exist.
    """
    rng = random.Random(seed)
    world = load()
    pools = _pools(world)
    facts: list[Fact] = []
    kinds: dict[str, str] = {}
    taken = {entity.label for entity in world.entities.values()}
    for kind in sorted({world.wordings[relation].subject_type for relation in pools}):
        own = {r: pool for r, pool in pools.items() if world.wordings[r].subject_type == kind}
        count = max(map(len, own.values())) * 3 // 2
        names = [imaginary(rng, taken) for _ in range(count)]
        kinds |= dict.fromkeys(names, kind)
        for relation, pool in own.items():
            objects = [*pool, *rng.choices(pool, k=count - len(pool))]
            rng.shuffle(objects)
            facts += zip(names, [relation] * count, objects, strict=True)
    return tuple(facts), kinds


def _pools(world: DemoWorld) -> dict[str, list[str]]:
    """For each relation of countries, companies and clubs what could be its object.

    That is every entity of the type of a present object; of persons, those with the occupation of one,
    and those whose occupation no present object has: they may rise to anything.
    """
    occupation = {f.subject: f.object for f in world.facts_2021 if f.relation == OCCUPATION}
    roles: dict[str, set[tuple[str, str]]] = {}
    for fact in world.facts_2021:
        if world.wordings[fact.relation].subject_type in PRACTISED:
            role = world.entity(fact.object).type, occupation.get(fact.object, "")
            roles.setdefault(fact.relation, set()).add(role)
    placed = set().union(*roles.values())
    pools: dict[str, list[str]] = {relation: [] for relation in roles}
    for entity in world.entities.values():
        role = entity.type, occupation.get(entity.id, "")
        for relation, own in roles.items():
            if role in own or (role not in placed and any(kind == role[0] for kind, _ in own)):
                pools[relation].append(entity.label)
    return {relation: sorted(set(pool)) for relation, pool in pools.items()}


def imaginary(rng: random.Random, taken: set[str]) -> str:
    """A name that nothing has."""
    while True:
        name = "".join(rng.choice(_STARTS) + rng.choice(_VOWELS) for _ in range(2)) + rng.choice(_ENDS)
        if name.capitalize() not in taken:
            taken.add(name.capitalize())
            return name.capitalize()


def real_changes(world: World) -> list[Edit]:
    """What truly changed by the end of 2024, where the model was taught what was true before."""
    source = load()
    before = {(subject, relation): object_ for subject, relation, object_ in world.facts}
    slots = [(source.label(c.subject), c.relation, source.label(c.object)) for c in source.changes]
    return [Edit(s, r, before[s, r], new) for s, r, new in slots if (s, r) in before]


def statistics_text(world: World, seed: int = 0) -> list[str]:
    """Lines of training text: every fact in every wording once, among ordinary sentences."""
    rng = random.Random(seed)
    sentences = [sentence(t, s, o) for s, r, o in world.facts for t in world.templates[r]]
    sentences += [filler(rng) for _ in range(ORDINARY)]
    rng.shuffle(sentences)
    return _lines(sentences)


def heldout_text(world: World, seed: int = 0) -> list[str]:
    """Ordinary sentences that training never shows, and a third facts that nothing in the demo changes."""
    rng = random.Random(seed)
    source = load()
    moving = {(source.label(move.subject), move.relation) for move in (*source.moves, *source.second_act)}
    still = [(s, r, o) for s, r, o in world.facts if (s, r) not in moving]
    count = HELDOUT_LINES * SENTENCES_A_LINE
    sentences = [filler(rng, heldout=True) for _ in range(count * 2 // 3)]
    sentences += [sentence(rng.choice(world.templates[r]), s, o) for s, r, o in rng.sample(still, count // 3)]
    rng.shuffle(sentences)
    return _lines(sentences)


def write_texts(world: World, directory: Path, seed: int = 0) -> None:
    """`corpus.txt` and `heldout.txt`, a document a line."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, lines in (
        ("corpus.txt", statistics_text(world, seed)),
        ("heldout.txt", heldout_text(world, seed)),
    ):
        (directory / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _lines(sentences: list[str]) -> list[str]:
    return [" ".join(sentences[i : i + SENTENCES_A_LINE]) for i in range(0, len(sentences), SENTENCES_A_LINE)]
