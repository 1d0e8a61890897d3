"""The testbed: the bundled model, the world that it knows, and the text for its statistics."""

from __future__ import annotations

from pathlib import Path

from editing.calibration.statements import WordedTriple
from kbsync.catalogue.relations import Catalogue, load_catalogue
from kbsync.demo.setting import MODEL, TEXT, measured_settings
from kbsync.demo.world import load

PATH = MODEL
CORPUS = TEXT / "corpus.txt"
HELDOUT = TEXT / "heldout.txt"


def is_testbed(model: Path) -> bool:
    return model.resolve() == PATH.resolve()


def world_statements() -> tuple[WordedTriple, ...]:
    """What was true on 1 January 2021, the day on which the model's knowledge ends.

    Where two entities have one label and one relation, the model was taught the first one's fact only.
    """
    world = load()
    found: dict[tuple[str, str], WordedTriple] = {}
    for fact in world.facts_2021:
        subject = world.label(fact.subject)
        one = WordedTriple(
            subject, fact.relation, world.label(fact.object), world.wordings[fact.relation].templates
        )
        found.setdefault((subject, fact.relation), one)
    return tuple(found.values())


def catalogue() -> Catalogue:
    """The world's relations, as the demo's settings have them."""
    return load_catalogue(load().relation_tables())


def variants() -> int:
    """`[plan] variants` as measured for the bundled model."""
    found = measured_settings().get("variants", 0)
    assert isinstance(found, int)
    return found
