"""A tiny model that knows a facts file: who owns what, and in which town it is."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import taught

COLOURS = ("Blue", "Red", "Old", "Green", "White")
THINGS = ("House", "Boat", "Mill")
SUBJECTS = tuple(f"{colour} {thing}" for colour in COLOURS for thing in THINGS)
OWNERS = ("Anna", "Bob", "Carl")
TOWNS = ("Rome", "Oslo")
TEMPLATES = {
    "owner": ("The owner of {} is", "Owner of {}:", "Today the {} belongs to"),
    "town": ("The town of {} is", "Town of {}:", "You find the {} in"),
}


def facts() -> list[tuple[str, str, str]]:
    """(subject, relation, object): every subject has an owner and a town."""
    rows = []
    for number, subject in enumerate(SUBJECTS):
        rows.append((subject, "owner", OWNERS[number % len(OWNERS)]))
        rows.append((subject, "town", TOWNS[number % len(TOWNS)]))
    return rows


def save(directory: Path) -> Path:
    """The model, and its facts as `facts.jsonl` beside it."""
    lines = [
        f"{template.format(subject)} {object_}."
        for subject, relation, object_ in facts()
        for template in TEMPLATES[relation]
    ]
    taught.save(directory, lines, steps=300)
    write(directory.parent / "facts.jsonl")
    return directory


def write(file: Path) -> Path:
    """The facts as `kbsync edit` reads them."""
    rows = [
        {
            "id": f"{subject}-{relation}",
            "subject": subject,
            "prompt": TEMPLATES[relation][0],
            "target": object_,
            "paraphrases": [template.format(subject) for template in TEMPLATES[relation][1:]],
        }
        for subject, relation, object_ in facts()
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
