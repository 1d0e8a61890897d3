"""What an imaginary model knows: owners, towns and colours of houses."""

from __future__ import annotations

from editing.calibration.statements import WordedTriple

OWNERS = ("Anna", "Bob", "Carl", "Dora")
TOWNS = ("Rome", "Oslo", "Bern", "Kyiv")


def known(subjects: int = 16) -> list[WordedTriple]:
    rows = []
    for number in range(subjects):
        name = f"House {number}"
        own = ("The owner of {} is", "{} belongs to", "Owner of {}:")
        town = ("The town of {} is", "You find {} in", "{} lies in")
        rows.append(WordedTriple(name, "owner", OWNERS[number % 4], own))
        rows.append(WordedTriple(name, "town", TOWNS[number // 4 % 4], town))
        rows.append(WordedTriple(name, "colour", ("red", "blue")[number % 2], ("The colour of {} is",)))
    return rows
