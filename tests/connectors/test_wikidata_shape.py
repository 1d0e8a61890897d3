"""Every shape that Wikidata's statements take, as the connector tells of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from connectors.dates import Interval
from connectors.observations import Entity, Observation, Statement
from tests.support.sparql_server import Open, SparqlServer
from tests.support.wikibase_world import NO_VALUE, SOME_VALUE, START, Claim, World

T2019 = datetime(2019, 5, 1, tzinfo=UTC)
T2020 = datetime(2020, 5, 1, tzinfo=UTC)


def slot_of(open_wikidata: Open, subject: str = "wd:Q38", **settings: object) -> Observation:
    poll = next(iter(open_wikidata(subjects=[subject], **settings).poll(None)))
    (observation,) = poll.observations
    return observation


@pytest.mark.parametrize("data_nodes", [False, True])
def test_a_slot_has_all_its_statements_with_rank_times_and_references(
    oxigraph: SparqlServer, open_wikidata: Open, data_nodes: bool
) -> None:
    world = World(data_nodes)
    world.add("Q1", "Conte")
    world.add("Q2", "Draghi")
    world.items["Q2"].aliases = ["Mario Draghi", "Super Mario"]
    italy = world.add("Q38", "Italy")
    italy.claims["P6"] = [
        Claim("Q38-a", "Q1", rank="Normal", start=T2019, end=T2020, references=2),
        Claim("Q38-b", "Q2", rank="Preferred", start=T2020, references=1),
        Claim("Q38-c", "Q1", rank="Deprecated"),
    ]
    oxigraph.serve(world)

    observation = slot_of(open_wikidata)

    assert observation.subject == Entity("wd:Q38", "Italy", (), living=False)
    assert (observation.relation, observation.revision) == ("wdt:P6", italy.version)
    assert observation.modified == START
    conte, draghi = (
        Entity("wd:Q1", "Conte", (), False),
        Entity("wd:Q2", "Draghi", ("Mario Draghi", "Super Mario")),
    )
    assert [(s.id, s.kind, s.rank, s.start, s.end, s.references) for s in observation.statements] == [
        ("wds:Q38-a", "entity", "normal", Interval.at(T2019), Interval.at(T2020), 2),
        ("wds:Q38-b", "entity", "preferred", Interval.at(T2020), None, 1),
        ("wds:Q38-c", "entity", "deprecated", None, None, 0),
    ]
    assert observation.statements[0].object == conte
    assert observation.statements[1].object is not None
    assert observation.statements[1].object.aliases == draghi.aliases


def test_no_value_some_value_and_literals(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world = World()
    genid = "<http://www.wikidata.org/.well-known/genid/abc>"
    world.add(
        "Q38",
        "Italy",
        P6=[
            Claim("Q38-a", NO_VALUE),
            Claim("Q38-b", SOME_VALUE),
            Claim("Q38-c", genid),
            Claim("Q38-d", '"42"'),
            Claim("Q38-e", "<https://italy.example/?q=1>"),
        ],
    )
    oxigraph.serve(world)
    statements = slot_of(open_wikidata).statements
    assert [(s.kind, s.object and s.object.id) for s in statements] == [
        ("novalue", None),
        ("somevalue", None),
        ("somevalue", None),
        ("literal", "lit:42"),
        ("literal", "lit:https://italy.example/?q=1"),
    ]


def test_an_end_at_an_unknown_time_is_an_end(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world = World()
    world.add("Q1", "Conte")
    world.add("Q38", "Italy", P6=[Claim("Q38-a", "Q1", end=SOME_VALUE)])
    oxigraph.serve(world)
    (statement,) = slot_of(open_wikidata).statements
    assert statement.end is not None
    assert statement.end.past < START


@pytest.mark.parametrize("data_nodes", [False, True])
def test_dates_have_the_precision_that_their_value_nodes_give(
    oxigraph: SparqlServer, open_wikidata: Open, data_nodes: bool
) -> None:
    world = World(data_nodes)
    century, year = datetime(2100, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    world.add("Q1", "Conte")
    claim = Claim("Q38-a", "Q1", start=century, start_precision=7, end=year, end_precision=9)
    world.add("Q38", "Italy", P6=[claim])
    oxigraph.serve(world)
    (statement,) = slot_of(open_wikidata).statements
    assert statement.start == Interval(datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC))
    assert statement.end == Interval(year, datetime(2027, 1, 1, tzinfo=UTC))


def test_labels_fall_back_from_english_to_mul(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world = World()
    world.add("Q1").labels = {"mul": "Conte", "de": "Conte auf Deutsch"}
    world.add("Q38", "Italy", P6=[Claim("Q38-a", "Q1")]).labels |= {"mul": "ITALIA"}
    world.add("Q39", P6=[Claim("Q39-a", "Q1")])
    oxigraph.serve(world)
    assert slot_of(open_wikidata).subject == Entity("wd:Q38", "Italy", ("ITALIA",), False)
    assert slot_of(open_wikidata).statements[0].object == Entity("wd:Q1", "Conte", (), False)
    assert slot_of(open_wikidata, "wd:Q39").subject.label is None


def test_a_human_without_a_death_is_living(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world = World()
    human = Claim("Q0-h", "Q5")
    world.add("Q1", "alive", P31=[human])
    world.add("Q2", "dead", P31=[Claim("Q2-h", "Q5")], P570=[Claim("Q2-d", SOME_VALUE)])
    world.add(
        "Q3", "rumoured dead", P31=[Claim("Q3-h", "Q5")], P570=[Claim("Q3-d", SOME_VALUE, "Deprecated")]
    )
    statements = [Claim(f"Q38-{n}", f"Q{n}") for n in (1, 2, 3)]
    world.add("Q38", "Italy", P6=statements)
    oxigraph.serve(world)
    objects = [s.object for s in slot_of(open_wikidata).statements]
    assert [(o.label, o.living) for o in objects if o] == [
        ("alive", True),
        ("dead", False),
        ("rumoured dead", True),
    ]


def test_a_statement_that_points_at_a_merged_item_names_the_item_it_became(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world = World()
    world.add("Q1").redirect = "Q2"
    world.add("Q2", "Draghi")
    world.add("Q38", "Italy", P6=[Claim("Q38-a", "Q1")])
    oxigraph.serve(world)
    assert slot_of(open_wikidata).statements == (
        Statement("wds:Q38-a", "entity", Entity("wd:Q2", "Draghi", (), False)),
    )


def test_another_wikibase_with_prefixes_of_its_own(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world = World()
    world.add("Q1", "Conte", P31=[Claim("Q1-h", "Q5")])
    world.add("Q38", "Italy", P6=[Claim("Q38-a", "Q1")])
    elsewhere = world.turtle().replace("http://www.wikidata.org/", "https://facts.acme.example/")
    oxigraph.serve(elsewhere.replace("580", "7").replace("582", "8"))
    own = {
        "prefixes": {
            "acme": "https://facts.acme.example/entity/",
            "acmes": "https://facts.acme.example/entity/statement/",
            "acmet": "https://facts.acme.example/prop/direct/",
        },
        "property_base": "https://facts.acme.example/prop/",
        "properties": {"start": "P7", "end": "P8", "human": "acme:Q5"},
        "relations": ["acmet:P6"],
    }
    observation = slot_of(open_wikidata, "acme:Q38", **own)
    assert (observation.subject.id, observation.relation) == ("acme:Q38", "acmet:P6")
    assert observation.statements[0].id == "acmes:Q38-a"
    assert observation.statements[0].object == Entity("acme:Q1", "Conte", (), living=True)
