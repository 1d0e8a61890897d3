"""One relation's wording must not be another's."""

from __future__ import annotations

from typing import Any

from kbsync.catalogue.collisions import Collision, collisions
from kbsync.catalogue.relations import Catalogue, load_catalogue

SEAT = ("The seat of {} is", "{} has its seat in", "{} is run from")
TOWN = ("The town of {} is", "{} sits in", "{} is found in")


def catalogue(**relations: Any) -> Catalogue:
    tables = {f"crm:{name}": {"label": name, **table} for name, table in relations.items()}
    return Catalogue({}).overridden(tables)


def found(variants: int = 0, **relations: Any) -> list[Collision]:
    return list(collisions(catalogue(**relations).values(), variants))


def test_relations_with_wordings_of_their_own_do_not_collide() -> None:
    assert found(seat={"templates": SEAT}, town={"templates": TOWN}) == []


def test_what_one_is_edited_with_another_must_not_be_judged_by() -> None:
    collision = Collision("the SEAT of  {} is", "crm:seat", "crm:town", taught=True)
    assert found(seat={"templates": SEAT}, town={"templates": (*TOWN, "the SEAT of  {} is")}) == [collision]
    (other_way,) = found(town={"templates": (*TOWN, SEAT[0])}, seat={"templates": SEAT})
    assert (other_way.one, other_way.other) == ("crm:seat", "crm:town")
    assert str(other_way) == "crm:seat is edited with 'The seat of {} is', which crm:town has too"


def test_one_edit_prompt_of_two_relations_is_found() -> None:
    (collision,) = found(seat={"templates": SEAT}, town={"templates": (SEAT[0], *TOWN)})
    assert collision.taught


def test_a_paraphrase_of_both_is_another_matter_unless_it_is_edited_with() -> None:
    shared = {"seat": {"templates": SEAT}, "town": {"templates": (TOWN[0], SEAT[1])}}
    (collision,) = found(**shared)
    assert not collision.taught
    (collision,) = found(variants=1, **shared)
    assert collision.taught


def test_the_other_way_round_counts_where_it_is_edited() -> None:
    inverse = {"templates": SEAT, "inverse": ("{} is found in",)}
    assert found(seat=inverse, town={"templates": TOWN}) == []
    (collision,) = found(seat={**inverse, "edit_inverse": True}, town={"templates": TOWN})
    assert collision == Collision("{} is found in", "crm:seat", "crm:town", taught=True)


def test_the_catalogue_itself_has_no_collision() -> None:
    both_ways = {r.id: {"edit_inverse": bool(r.inverse)} for r in load_catalogue().values()}
    assert list(collisions(load_catalogue(both_ways).values(), variants=9)) == []
