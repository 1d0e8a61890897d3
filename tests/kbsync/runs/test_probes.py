"""What a fact is judged by is fetched once and stays the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from connectors.observations import Triple
from kbsync.admission.policy import Policy
from kbsync.intake import quarantine
from kbsync.runs import probes
from kbsync.runs.probe_triples import ProbeTriple
from state.records import Probe
from tests.support.admission_world import (
    CATALOGUE,
    DAY,
    START,
    Script,
    World,
    entity,
    observed,
    says,
    sources_of,
)


def gatherer(world: World, *scripts: Script) -> probes.Gatherer:
    return probes.Gatherer(world.state, sources_of(*scripts), CATALOGUE, Policy(), world.state.write)


def gather(world: World) -> dict[str, tuple[Probe, ...]]:
    """The probes of everything wanted, by object."""
    with world.state.read() as tx:
        wanted = tx.wanted()
    gatherer(world, world.kb).gather(wanted)
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


class Counted(Script):
    """Says what it is told to, and counts what it is asked."""

    questions: list[tuple[str | None, ...]]

    def neighbours(self, relation: str, object_id: str | None, limit: int) -> tuple[Triple, ...]:
        assert limit <= probes.POOL
        self.questions.append((relation, object_id))
        return super().neighbours(relation, object_id, limit)

    def facts_of(self, subject_id: str, limit: int) -> tuple[Triple, ...]:
        self.questions.append((subject_id,))
        return super().facts_of(subject_id, limit)


def test_a_batch_asks_once_a_relation_once_a_replaced_object_and_once_a_subject(world: World) -> None:
    world.kb = kb = Counted("kb")
    kb.questions = []
    places = [f"land_{n}" for n in range(30)]
    world.hear(
        *(observed(place, "conte") for place in places),
        *(observed(place, f"city_{place}", relation="wdt:P36") for place in places[:10]),
    )
    changed = [observed(p, f"new_{p}", revision=2, modified=START + DAY) for p in places[:10]]
    world.hear(*changed, after=9 * DAY)
    found = gather(world)
    assert len(kb.questions) == len(set(kb.questions)), "nothing is asked twice"
    of_relations = {question for question in kb.questions if len(question) == 2}
    assert of_relations == {("wdt:P6", "wd:conte"), ("wdt:P6", None), ("wdt:P36", None)}
    for place in places[:10]:
        neighbours = of_kind(found[f"new_{place}"], "neighbour")
        assert len(neighbours) == probes.NEIGHBOURS
        assert {target for _, target in neighbours} == {"Conte"}, "of the replaced object there are enough"


def test_facts_of_one_relation_draw_different_neighbours_from_one_pool(world: World) -> None:
    world.hear(*(observed(f"land_{n}", f"head_{n}") for n in range(40)))
    drawn = [frozenset(of_kind(told, "neighbour")) for told in gather(world).values()]
    assert {len(neighbours) for neighbours in drawn} == {probes.NEIGHBOURS}
    assert len(set(drawn)) > 20


def test_a_source_that_cannot_be_asked_is_replaced_by_what_it_said(world: World) -> None:
    """A drop folder, or a source that is no longer configured: the ledger has it, and known facts go first."""
    world.hear(
        observed(entity("italy", "Italy", "Italian Republic"), "conte"),
        observed("italy", "rome", relation="wdt:P36"),
        *(observed(f"land_{n}", f"head_{n}") for n in range(30)),
    )
    with world.state.read() as tx:
        wanted = tx.wanted()
    (fact,) = [one for one in wanted if one.object == "wd:conte"]
    known = {one.id for one in wanted if one.object in {f"wd:head_{n}" for n in range(15, 30)}}
    gatherer(world).gather([fact], known)
    with world.state.read() as tx:
        found = tx.probes(fact.id)
    assert of_kind(found, "alias") == [("The head of government of Italian Republic is", "Conte")]
    assert of_kind(found, "same_subject") == [("The capital of Italy is", "Rome")]
    neighbours = {target for _, target in of_kind(found, "neighbour")}
    assert len(neighbours) == probes.NEIGHBOURS
    assert neighbours <= {f"Head {n}" for n in range(15, 30)}


def pool(*triples: tuple[str, str]) -> Script:
    """A source that knows neighbours which nobody watches."""
    kb = Script("kb")
    for subject, object in triples:
        told = observed(subject, object)
        kb.now[told.subject.id, told.relation] = told
    return kb


def test_what_nobody_watches_judges_only_where_the_base_states_it(world: World) -> None:
    world.hear(observed("italy", "conte"))
    world.kb = pool(("spain", "perez"), ("malta", "abela"), ("peru", "guess"))
    asked: list[ProbeTriple] = []

    def states(triples: Sequence[ProbeTriple]) -> list[bool]:
        asked.extend(triples)
        return [one.target != "Guess" for one in triples]

    with world.state.read() as tx:
        wanted = tx.wanted()
    replace(gatherer(world, world.kb), states=states).gather(wanted)
    with world.state.read() as tx:
        found = of_kind(tx.probes(wanted[0].id), "neighbour")
    assert {target for _, target in found} == {"Perez", "Abela"}
    assert {one.target for one in asked} == {"Perez", "Abela", "Guess"}


def test_what_the_ledger_doubts_judges_nobody(world: World) -> None:
    """A homonym in quarantine, a value that settles, one that was rejected, and one that is another by now."""
    world.hear(
        observed("italy", "conte"),
        observed("georgia", "ann"),
        observed(entity("georgia_us", "Georgia"), "bob"),
        observed("spain", "perez", modified=START),
        observed("malta", "abela"),
        observed("peru", "boluarte"),
        observed("chile", "boric"),
    )
    quarantine.reject(world.intake, world.fact("malta", "abela").id, "no", "ada")
    sure = pool(
        ("georgia", "ann"), ("spain", "perez"), ("malta", "abela"), ("peru", "castillo"), ("chile", "boric")
    )
    italy = world.fact("italy", "conte")
    everything = replace(gatherer(world, sure), states=lambda asked: [True] * len(asked))
    everything.gather([italy])
    with world.state.read() as tx:
        assert of_kind(tx.probes(italy.id), "neighbour") == [("The head of government of Chile is", "Boric")]


def test_another_subject_of_the_same_prompt_is_no_probe(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("spain", "perez"))
    italy = world.fact("italy", "conte")
    twin = pool(("spain_us", "perez"))
    ((_, told),) = twin.now.items()
    twin.now = {("wd:spain_us", told.relation): observed(entity("spain_us", "Spain"), "jones")}
    replace(gatherer(world, twin), states=lambda asked: [True] * len(asked)).gather([italy])
    with world.state.read() as tx:
        assert of_kind(tx.probes(italy.id), "neighbour") == []


def test_a_subjects_other_relation_that_is_doubted_is_no_probe(world: World) -> None:
    world.hear(observed("italy", "conte"), observed("italy", "rome", "milan", relation="wdt:P36"))
    italy = world.fact("italy", "conte")
    gatherer(world, world.kb).gather([italy])
    with world.state.read() as tx:
        assert of_kind(tx.probes(italy.id), "same_subject") == []


def test_probe_triples_are_looked_for_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "PAGE", 3)
    world.hear(*(observed(f"land_{n}", f"head_{n}") for n in range(10)))
    assert all(of_kind(found, "neighbour") for found in gather(world).values())
