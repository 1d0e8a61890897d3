"""The demo's world: true facts of 1 January 2021, what changed by the end of 2024, and the awkward cases.

The data are the files beside this one (TSV and TOML, written and checked by hand); their first
lines say what the columns mean.  About 1,150 facts with some 350 subjects, nearly all of which stand
in three or more relations: a model that learns them reads a fact at its subject's last token, which
is where MEMIT writes.  Properties are Wikidata's; entities live in a namespace of the demo's own.

    world = load()
    world.at(date(2024, 12, 31))            # the facts then
    wiki = Wikibase(world)
    wiki.ntriples()                         # everything, in Wikidata's shape, as of 1 January 2021
    for move in world.moves:
        update = wiki.apply(move)           # SPARQL UPDATE: the same world a step later
"""

from kbsync.demo.world.demo_world import DAY_ZERO, DemoWorld
from kbsync.demo.world.entries import (
    AwkwardCase,
    RelationWording,
    Trial,
    TrueChange,
    WorldEntity,
    WorldError,
    WorldFact,
    WorldMove,
)
from kbsync.demo.world.loading import load
from kbsync.demo.world.statements import WorldStatement
from kbsync.demo.world.wikibase import PREFIXES, Wikibase

__all__ = [
    "DAY_ZERO",
    "PREFIXES",
    "AwkwardCase",
    "DemoWorld",
    "RelationWording",
    "Trial",
    "TrueChange",
    "Wikibase",
    "WorldEntity",
    "WorldError",
    "WorldFact",
    "WorldMove",
    "WorldStatement",
    "load",
]
