"""What a fact is judged by is fetched once and stays the same."""

from __future__ import annotations

from kbsync import probes
from kbsync.policy import Policy
from state.records import Probe
from tests.admission.worlds import CATALOGUE, DAY, START, Script, World, entity, observed, says


def gather(world: World) -> dict[str, tuple[Probe, ...]]:
    """The probes of everything wanted, by object."""
    with world.state.read() as tx:
        wanted = tx.wanted()
    probes.gather(world.state, {"kb": world.kb}, CATALOGUE, Policy(), wanted)
    with world.state.read() as tx:
        return {fact.object.removeprefix("wd:"): tx.probes(fact.id) for fact in wanted}


def of_kind(found: tuple[Probe, ...], kind: str) -> list[tuple[str, str]]:
    return [(probe.prompt, probe.target) for probe in found if probe.kind == kind]


def test_neighbours_share_the_relation_and_first_the_object_that_was_replaced(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez"), observed("malta", "conte"))
    world.hear(observed("italy", "draghi", revision=2, modified=START + DAY), after=9 * DAY)
    found = of_kind(gather(world)["draghi"], "neighbour")
    assert found[0] == ("The head of government of Malta is", "Conte")
    assert ("The head of government of Spain is", "Perez") in found
    assert all("Italy" not in prompt for prompt, _ in found)


def test_the_subjects_other_relations_must_not_move(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("italy", "rome", relation="wdt:P36"))
    found = gather(world)
    assert of_kind(found["conte"], "same_subject") == [("The capital of Italy is", "Rome")]
    assert of_kind(found["rome"], "same_subject") == [("The head of government of Italy is", "Conte")]


def test_aliases_are_paraphrases_unless_another_subject_goes_by_them(world: World) -> None:
    italy = entity("italy", "Italy", "Italian Republic", "Italia", "It\u200bly", "ITALY")
    world.hear(observed(italy, "conte"), observed(entity("island", "Italia"), "bob"))
    assert of_kind(gather(world)["conte"], "alias") == [
        ("The head of government of Italian Republic is", "Conte")
    ]


def test_a_flawed_label_makes_no_probe(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", says(entity("evil", "E\u200bl"))))
    assert of_kind(gather(world)["conte"], "neighbour") == []


def test_the_source_is_asked_once(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez"))
    before = gather(world)
    world.kb = Script("kb")
    assert gather(world) == before


def test_a_fact_of_a_source_that_is_no_longer_configured_keeps_its_aliases(world: World) -> None:
    world.hear(observed(entity("italy", "Italy", "Italian Republic"), "conte"))
    with world.state.read() as tx:
        wanted = tx.wanted()
    assert probes.gather(world.state, {}, CATALOGUE, Policy(), wanted) == 1
    with world.state.read() as tx:
        assert [probe.kind for probe in tx.probes(wanted[0].id)] == ["alias"]
