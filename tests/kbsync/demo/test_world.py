"""The demo's world: sound data, and a knowledge base that moves as Wikidata's would."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import pyoxigraph
import pytest

from kbsync.catalogue.relations import load_catalogue
from kbsync.demo.world import DAY_ZERO, PREFIXES, DemoWorld, Wikibase, WorldError, WorldMove, load
from kbsync.demo.world.loading import HERE

END_OF_2024 = date(2024, 12, 31)
WIKIDATA = """
PREFIX demo: <https://demo.kbsync.example/entity/>
PREFIX p: <http://www.wikidata.org/prop/>
PREFIX ps: <http://www.wikidata.org/prop/statement/>
PREFIX pq: <http://www.wikidata.org/prop/qualifier/>
PREFIX wd: <http://www.wikidata.org/entity/>
PREFIX wdt: <http://www.wikidata.org/prop/direct/>
PREFIX wikibase: <http://wikiba.se/ontology#>
PREFIX prov: <http://www.w3.org/ns/prov#>
PREFIX schema: <http://schema.org/>
PREFIX rdfs: <http://www.w3.org/2000/01/rdf-schema#>
PREFIX skos: <http://www.w3.org/2004/02/skos/core#>
"""


Server = tuple[Wikibase, pyoxigraph.Store]


@pytest.fixture(scope="module")
def world() -> DemoWorld:
    return load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of the world, to spoil."""
    for path in HERE.glob("*.t*"):
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def store(world: DemoWorld) -> Server:
    wiki, store = Wikibase(world), pyoxigraph.Store()
    store.load(wiki.ntriples().encode(), format=pyoxigraph.RdfFormat.N_TRIPLES)
    return wiki, store


def rows(store: pyoxigraph.Store, query: str) -> list[tuple[str, ...]]:
    found = store.query(WIKIDATA + query)
    assert isinstance(found, pyoxigraph.QuerySolutions)
    return sorted(tuple("" if term is None else term.value for term in row) for row in found)


def curie(iri: str) -> str:
    return iri.replace(PREFIXES["demo"], "demo:")


def current(world: DemoWorld, day: date, subject: str, relation: str) -> list[str]:
    return [world.label(f.object) for f in world.at(day) if f.slot == (f"demo:{subject}", f"wdt:{relation}")]


# What the files promise


def test_the_world_is_as_large_as_promised(world: DemoWorld) -> None:
    subjects = Counter(fact.subject for fact in world.facts_2021)
    assert 1_000 <= len(world.facts_2021) <= 1_200
    assert 12 <= len(world.wordings) <= 18
    assert len(subjects) <= 420
    assert sum(count >= 3 for count in subjects.values()) >= 0.9 * len(subjects)
    assert 60 <= len(world.changes) <= 80


def test_every_slot_holds_one_object_on_day_zero(world: DemoWorld) -> None:
    assert max(Counter(fact.slot for fact in world.at(DAY_ZERO)).values()) == 1
    assert set(world.at(DAY_ZERO)) == set(world.facts_2021)


def test_only_the_deliberate_homonyms_share_a_label(world: DemoWorld) -> None:
    assert set(world.homonyms) == {"Georgia", "Abu Dhabi"}


def test_no_label_begins_another_of_the_same_type(world: DemoWorld) -> None:
    labels = Counter((entity.type, entity.label) for entity in world.entities.values())
    begun = [
        (label, other)
        for kind, label in labels
        for other_kind, other in labels
        if kind == other_kind and other.startswith(label + " ")
    ]
    assert begun == []


def test_every_person_is_a_subject_with_at_least_two_facts(world: DemoWorld) -> None:
    told = Counter(fact.subject for fact in world.facts_2021)
    persons = [entity.id for entity in world.entities.values() if entity.type == "person"]
    assert persons
    assert min(told[person] for person in persons) >= 2


def test_every_new_object_is_known_from_the_text_of_2021(world: DemoWorld) -> None:
    named = {name for fact in world.facts_2021 for name in (fact.subject, fact.object)}
    sound = {trial.move.object for trial in world.trials if not trial.hopeless}
    assert {change.object for change in world.changes} | sound <= named


def test_old_and_new_object_of_a_change_share_no_name(world: DemoWorld) -> None:
    """Or admission would take the change for one of items only (compare the case "same label")."""
    before = {fact.slot: fact.object for fact in world.facts_2021}
    for change in world.changes:
        old, new = world.entity(before[change.slot]), world.entity(change.object)
        assert not {old.label, *old.aliases} & {new.label, *new.aliases}


def test_templates_are_good_enough_for_the_relation_catalogue(world: DemoWorld) -> None:
    catalogue = load_catalogue(world.relation_tables())
    for wording in world.wordings.values():
        assert catalogue[wording.id].template == wording.templates[0]
        assert catalogue[wording.id].single_valued
        assert len(wording.close) >= 2
        assert all(re.search(r"\{\}\W?\W?$", template) for template in wording.close)


def test_two_relations_of_one_subject_share_no_template(world: DemoWorld) -> None:
    templates = Counter(t for wording in world.wordings.values() for t in wording.templates)
    assert max(templates.values()) == 1


def test_there_is_a_case_of_every_awkward_kind(world: DemoWorld) -> None:
    assert {case.kind for case in world.awkward} == {
        "ended without successor",
        "deprecated",
        "two current values",
        "homonyms",
        "vandalism",
        "same label",
        "there and back",
        "two relations of one subject",
    }


def test_the_second_act_has_six_of_each_and_the_hopeless_are_nowhere_else(world: DemoWorld) -> None:
    assert Counter(trial.hopeless for trial in world.trials) == {True: 6, False: 6}
    assert {t.move.object for t in world.trials if t.hopeless} == set(world.invented)
    assert not set(world.invented) & set(world.entities)


# What was true when


@pytest.mark.parametrize(
    ("day", "subject", "relation", "labels"),
    [
        (DAY_ZERO, "germany", "P6", ["Angela Merkel"]),
        (date(2021, 12, 7), "germany", "P6", ["Angela Merkel"]),
        (date(2021, 12, 8), "germany", "P6", ["Olaf Scholz"]),
        (END_OF_2024, "croatia", "P38", ["euro"]),
        (END_OF_2024, "lebanon", "P35", []),
        (END_OF_2024, "australia", "P36", ["Canberra"]),
        (END_OF_2024, "el-salvador", "P38", ["US dollar", "bitcoin"]),
        (date(2023, 12, 31), "leicester-city", "P118", ["EFL Championship"]),
        (END_OF_2024, "leicester-city", "P118", ["Premier League"]),
        (END_OF_2024, "manchester-city", "P115", ["Etihad Stadium"]),
        (END_OF_2024, "united-arab-emirates", "P36", ["Abu Dhabi"]),
    ],
)
def test_the_world_at_a_day(
    world: DemoWorld, day: date, subject: str, relation: str, labels: list[str]
) -> None:
    assert current(world, day, subject, relation) == labels


def test_every_change_has_happened_by_the_end_of_2024(world: DemoWorld) -> None:
    then = {fact.slot: fact.object for fact in world.at(END_OF_2024)}
    assert all(then[change.slot] == change.object for change in world.changes)


# What the server is given


def test_every_fact_is_served_in_wikidatas_full_shape(world: DemoWorld, store: Server) -> None:
    found = rows(
        store[1],
        """SELECT ?s ?p ?o WHERE { ?s ?p ?st . ?st a wikibase:Statement, wikibase:BestRank ;
             wikibase:rank wikibase:NormalRank ; ?ps ?o ; prov:wasDerivedFrom ?ref . ?s ?wdt ?o ;
             schema:version ?v ; schema:dateModified ?m ; rdfs:label ?l .
             BIND(STRAFTER(STR(?p), STR(p:)) AS ?id)
             FILTER(?p = IRI(CONCAT(STR(p:), ?id)) && ?ps = IRI(CONCAT(STR(ps:), ?id))
                    && ?wdt = IRI(CONCAT(STR(wdt:), ?id)) && ?id != "P31") }""",
    )
    served = {(curie(s), "wdt:" + p.rpartition("/")[2], curie(o)) for s, p, o in found}
    assert served == {(fact.subject, fact.relation, fact.object) for fact in world.facts_2021}


def test_labels_aliases_and_classes_are_served(store: Server) -> None:
    assert rows(store[1], "SELECT ?l WHERE { demo:joe-biden rdfs:label ?l }") == [("Joe Biden",)]
    assert rows(store[1], "SELECT ?a WHERE { demo:czech-republic skos:altLabel ?a }") == [("Czechia",)]
    assert rows(store[1], "SELECT ?c WHERE { demo:joe-biden p:P31/ps:P31 ?c ; wdt:P31 ?c }") == [
        ("http://www.wikidata.org/entity/Q5",)
    ]


def test_a_change_is_a_new_statement_an_end_time_and_a_newer_version(world: DemoWorld, store: Server) -> None:
    wiki, oxigraph = store
    versions = "SELECT ?v ?m WHERE { demo:france schema:version ?v ; schema:dateModified ?m }"
    ((old_version, _),) = rows(oxigraph, versions)
    move = next(move for move in world.moves if move.slot == ("demo:france", "wdt:P6"))
    oxigraph.update(wiki.apply(move))
    assert rows(
        oxigraph,
        """SELECT ?o ?start ?end WHERE { demo:france p:P6 ?st . ?st ps:P6 ?o
             OPTIONAL { ?st pq:P580 ?start } OPTIONAL { ?st pq:P582 ?end } }""",
    ) == [
        (PREFIXES["demo"] + "francois-bayrou", "2024-12-13T00:00:00Z", ""),
        (PREFIXES["demo"] + "jean-castex", "2020-07-03T00:00:00Z", "2022-05-16T00:00:00Z"),
    ]
    ((version, modified),) = rows(oxigraph, versions)
    assert int(version) > int(old_version)
    assert modified == "2024-12-13T00:00:00Z"


def test_a_deprecated_statement_is_no_best_value(world: DemoWorld, store: Server) -> None:
    wiki, oxigraph = store
    oxigraph.update(wiki.apply_all(move for move in world.moves if move.subject == "demo:australia"))
    assert rows(oxigraph, "SELECT ?o WHERE { demo:australia wdt:P36 ?o }") == [
        (PREFIXES["demo"] + "canberra",)
    ]
    assert rows(
        oxigraph, "SELECT ?o ?rank WHERE { demo:australia p:P36 [ps:P36 ?o; wikibase:rank ?rank] }"
    ) == [
        (PREFIXES["demo"] + "canberra", "http://wikiba.se/ontology#NormalRank"),
        (PREFIXES["demo"] + "sydney", "http://wikiba.se/ontology#DeprecatedRank"),
    ]


def test_vandalism_and_its_revert_keep_the_statement(world: DemoWorld, store: Server) -> None:
    wiki, oxigraph = store
    statements = "SELECT ?st ?o WHERE { demo:manchester-city p:P115 ?st . ?st ps:P115 ?o }"
    before = rows(oxigraph, statements)
    vandal, revert = (move for move in world.moves if move.slot == ("demo:manchester-city", "wdt:P115"))
    oxigraph.update(wiki.apply(vandal))
    assert rows(oxigraph, statements) == [(before[0][0], PREFIXES["demo"] + "old-trafford")]
    assert not rows(oxigraph, "SELECT ?r WHERE { demo:manchester-city p:P115/prov:wasDerivedFrom ?r }")
    oxigraph.update(wiki.apply(revert))
    assert rows(oxigraph, statements) == before


def test_all_updates_together_leave_the_server_with_the_world_of_the_end(
    world: DemoWorld, store: Server
) -> None:
    wiki, oxigraph = store
    oxigraph.update(wiki.apply_all((*world.moves, *world.second_act)))
    fresh = pyoxigraph.Store()
    fresh.load(wiki.ntriples().encode(), format=pyoxigraph.RdfFormat.N_TRIPLES)
    # References of statements that are gone may stay behind, as they do on the real service.
    assert set(fresh) <= set(oxigraph)
    extra = {quad.subject for quad in set(oxigraph) - set(fresh)}
    assert all("/reference/" in str(subject) for subject in extra)
    now = rows(
        oxigraph,
        """SELECT ?s ?p ?o WHERE { ?s ?p ?st . ?st wikibase:rank ?r ; ?ps ?o .
             FILTER(STRSTARTS(STR(?ps), STR(ps:)) && ?r != wikibase:DeprecatedRank && ?ps != ps:P31)
             FILTER NOT EXISTS { ?st pq:P582 ?end } }""",
    )
    end = {(fact.subject, fact.relation, fact.object) for fact in world.at(date(2026, 2, 1))}
    assert {(curie(s), "wdt:" + p.rpartition("/")[2], curie(o)) for s, p, o in now} == end


def test_invented_things_arrive_with_their_labels(world: DemoWorld, store: Server) -> None:
    wiki, oxigraph = store
    label = "SELECT ?l WHERE { demo:invented-coach rdfs:label ?l ; schema:version ?v }"
    assert rows(oxigraph, label) == []
    oxigraph.update(wiki.apply_all((*world.moves, *world.second_act)))
    assert rows(oxigraph, label) == [(world.label("demo:invented-coach"),)]


# What a careless editor of the files is told


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "facts.tsv",
            "demo:france\tP36\tdemo:paris",
            "demo:france\tP36\tdemo:pariss",
            "no entity demo:pariss",
        ),
        ("facts.tsv", "demo:france\tP38", "demo:france\tP36", "demo:france wdt:P36 has 2 objects"),
        ("facts.tsv", "2017-05-14", "14 May 2017", "'14 May 2017' is not a date"),
        ("facts.tsv", "subject\trelation", "relation\tsubject", "columns are"),
        ("entities.tsv", "\tParis\t", "\tLondon\t", "are all called 'London'"),
        ("entities.tsv", "\tParis\t", "\tPar{}is\t", "not in plain letters"),
        ("changes.tsv", "demo:olaf-scholz", "demo:angela-merkel", "demo:angela-merkel held it before"),
        ("templates.toml", '"Capital: {},"', '"Capital: {} is"', "words stand between"),
        ("templates.toml", '"The capital of {} is"', '"The capital is"', "'The capital is' is malformed"),
        ("templates.toml", "[P36]", "[P999]", "the relation has no templates"),
        ("awkward.toml", 'do = "end"', 'do = "stop"', "cannot 'stop'"),
        ("hopeless.tsv", "sound\t2025-03-14", "good\t2025-03-14", "kind is hopeless"),
    ],
)
def test_a_mistake_in_a_file_is_named(copy: Path, name: str, old: str, new: str, message: str) -> None:
    spoil(copy / name, old, new)
    with pytest.raises(WorldError, match=re.escape(message)):
        load(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "changes.tsv").unlink()
    with pytest.raises(WorldError, match=r"changes\.tsv cannot be read"):
        load(copy)


def test_a_move_without_a_current_statement_is_refused(world: DemoWorld) -> None:
    wiki = Wikibase(world)
    move = WorldMove(datetime(2024, 1, 1, tzinfo=UTC), "succeed", "demo:france", "wdt:P999", "demo:paris")
    with pytest.raises(WorldError, match="needs one current statement, there are 0"):
        wiki.apply(move)
