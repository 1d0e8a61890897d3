"""Polling: nothing is lost, nothing is read twice for nothing, and every step stands on its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.errors import SourceDataError, SourceSettingsError, SourceUnavailable
from connectors.registry import connect
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, Open, SparqlServer, running_oxigraph
from tests.support.virtual_time import VirtualTime
from tests.support.wikibase_world import START, Claim, World

HOUR = timedelta(hours=1)


def countries(count: int) -> tuple[World, list[str]]:
    """Countries Q100, Q101, … all of one timestamp, each led by Q1."""
    world = World()
    world.add("Q1", "One")
    world.add("Q2", "Two")
    ids = [f"Q{100 + n}" for n in range(count)]
    for id in ids:
        world.add(id, f"Country {id}", P6=[Claim(f"{id}-a", "Q1")])
    return world, [f"wd:{id}" for id in ids]


def lead(world: World, country: str, leader: str, after: timedelta = timedelta(minutes=1)) -> None:
    item = world.touch(country, after)
    item.claims["P6"] = [Claim(f"{country}-{item.version}", leader)]


def test_the_second_poll_of_an_unchanged_world_takes_no_step(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(5)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    assert sink.drain(connector) > 0
    assert sink.values() == dict.fromkeys(watched, ("wd:Q1",))
    assert sink.drain(connector) <= 1  # objects as young as the world are looked at once more
    assert sink.drain(connector) == 0


def test_only_what_changed_is_read_again(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(5)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    lead(world, "Q102", "Q2", after=HOUR)
    oxigraph.serve(world)
    changed = [o.subject.id for poll in connector.poll(sink.cursor) for o in poll.observations]
    assert changed == ["wd:Q102"]


def test_equal_timestamps_lose_nothing_when_a_pass_is_cut_after_any_step(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(6)
    oxigraph.serve(world)
    connector = open_wikidata(subjects=watched, slots_per_step=1)
    whole = Sink()
    steps = whole.drain(connector)
    for cut in range(1, steps):
        sink = Sink()
        sink.drain(connector, at_most=cut)
        lead(world, "Q103", "Q2", after=timedelta())  # the same second, while we were away
        oxigraph.serve(world)
        sink.drain(connector)
        assert sink.values() == {id: ("wd:Q2",) if id == "wd:Q103" else ("wd:Q1",) for id in watched}
        world.items["Q103"].claims["P6"] = [Claim("Q103-a", "Q1")]
        world.touch("Q103", timedelta())
        oxigraph.serve(world)


def test_a_change_that_a_lagging_replica_shows_late_is_still_seen(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(4)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    lead(world, "Q101", "Q2", after=HOUR)
    lagging = world.items["Q101"].modified
    hidden, world.items["Q101"] = world.items["Q101"], countries(4)[0].items["Q101"]
    lead(world, "Q102", "Q2", after=timedelta(minutes=10))
    oxigraph.serve(world)
    sink.drain(connector)  # sees the later change of Q102 before the earlier one of Q101
    world.items["Q101"] = hidden
    oxigraph.serve(world)
    sink.drain(connector)
    assert world.now > lagging
    assert sink.values()["wd:Q101"] == ("wd:Q2",)


def test_an_emptied_slot_is_reported(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.touch("Q101", HOUR).claims.clear()
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q102"]


def test_a_deleted_subject_empties_its_slots_once_and_comes_back(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    deleted = world.items.pop("Q101")
    oxigraph.serve(world)
    (gone, *_) = connector.poll(sink.cursor)
    (observation,) = gone.observations
    assert observation.gone
    assert observation.revision > deleted.version
    sink.drain(connector)
    assert "wd:Q101" not in sink.values()
    sink.drain(connector)
    assert sink.drain(connector) == 0

    lead(world, "Q100", "Q2")
    world.items["Q101"] = deleted
    world.touch("Q101", HOUR)
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q1",)


@pytest.mark.parametrize("found_by", ["a poll", "a re-read"])
@pytest.mark.parametrize("edited", [False, True])
def test_what_was_deleted_and_undeleted_is_there_again(
    oxigraph: SparqlServer, open_wikidata: Open, found_by: str, edited: bool
) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)

    def look() -> None:
        if found_by == "a re-read":
            for poll in connector.snapshot([("wd:Q101", "wdt:P6")]):
                sink.commit(poll)
        sink.drain(connector)

    deleted = world.items.pop("Q101")
    oxigraph.serve(world)
    look()
    assert "wd:Q101" not in sink.values()
    world.items["Q101"] = deleted
    if edited:
        lead(world, "Q101", "Q2", after=HOUR)
    oxigraph.serve(world)
    look()
    assert sink.values()["wd:Q101"] == ("wd:Q2" if edited else "wd:Q1",)
    lead(world, "Q101", "Q2", after=2 * HOUR)
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",)


@pytest.mark.parametrize("edited", [False, True])
@pytest.mark.parametrize("heir_stays", [False, True])
def test_a_merge_that_is_undone_gives_both_their_own_again(
    oxigraph: SparqlServer, open_wikidata: Open, edited: bool, heir_stays: bool
) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.add("Q900", "Country Q101", P6=world.items["Q101"].claims["P6"])
    world.items["Q101"].redirect = "Q900"
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q900"] == ("wd:Q1",)
    world.items["Q101"].redirect = None
    if edited:
        lead(world, "Q101", "Q2", after=HOUR)
    if heir_stays:
        world.touch("Q900", HOUR).claims.clear()
    else:
        del world.items["Q900"]
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2" if edited else "wd:Q1",)
    assert "wd:Q900" not in sink.values()
    sink.drain(connector)
    assert sink.drain(connector) == 0


def test_one_change_with_a_date_to_come_does_not_hide_all_later_ones(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(3)
    world.items["Q102"].modified = datetime(9000, 1, 1, tzinfo=UTC)
    oxigraph.serve(world)
    time = VirtualTime(START + 2 * HOUR)
    sink, connector = Sink(), open_wikidata(clock=time.clock, subjects=watched)
    sink.drain(connector)
    time.sleep(HOUR.total_seconds())
    lead(world, "Q101", "Q2", after=3 * HOUR)
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",)


def test_a_store_that_lost_everything_is_treated_as_failed(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(20)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    before = sink.cursor
    oxigraph.serve("")
    with pytest.raises(SourceUnavailable, match="none of the 20"):
        sink.drain(connector)
    for id in watched[:8]:
        del world.items[id.removeprefix("wd:")]
    oxigraph.serve(world)
    with pytest.raises(SourceUnavailable, match="8 of 20 watched subjects vanished at once"):
        sink.drain(connector)
    assert sink.cursor == before
    sink.drain(open_wikidata(subjects=watched, max_vanished=0.5))
    assert len(sink.values()) == 12


def test_a_merge_moves_the_facts_and_changes_none(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.add("Q900", "Country Q101", P6=world.items["Q101"].claims["P6"])
    world.items["Q101"].redirect = "Q900"
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.moved == {"wd:Q101": "wd:Q900"}
    assert sink.values() == {"wd:Q100": ("wd:Q1",), "wd:Q102": ("wd:Q1",), "wd:Q900": ("wd:Q1",)}
    sink.drain(connector)
    assert sink.drain(connector) == 0
    lead(world, "Q900", "Q2", after=HOUR)  # what it was merged into is watched from now on
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q900"] == ("wd:Q2",)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_merged_object_is_reported_with_what_it_was_merged_into(
    corrected: bool, oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    """Whether the statement still names the old one, or a bot has corrected it."""
    world, watched = countries(1)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.add("Q900", "Somebody else's name")
    world.items["Q1"].redirect = "Q900"
    lead(world, "Q100", "Q900" if corrected else "Q1", after=HOUR)
    oxigraph.serve(world)
    polled = list(connector.poll(sink.cursor))
    assert {pair for step in polled for pair in step.merged_objects} == {("wd:Q1", "wd:Q900")}
    assert not any(step.redirects for step in polled), "it is no subject"
    (again,) = connector.snapshot([("wd:Q100", "wdt:P6")])
    assert again.merged_objects == (("wd:Q1", "wd:Q900"),)


def test_an_object_that_was_merged_twice_is_reported_with_both_merges(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    """The first redirect still leads to the second one: no bot has corrected it yet."""
    world, watched = countries(1)
    for number in (901, 902):
        world.add(f"Q{number}", f"Name {number}")
    world.items["Q901"].redirect = "Q902"
    world.items["Q1"].redirect = "Q901"
    lead(world, "Q100", "Q902", after=HOUR)
    oxigraph.serve(world)
    polled = list(open_wikidata(subjects=watched).poll(None))
    found = {pair for step in polled for pair in step.merged_objects}
    assert found == {("wd:Q1", "wd:Q902"), ("wd:Q901", "wd:Q902")}


def test_a_subject_that_others_were_merged_into_is_reported_with_them(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(1)
    world.add("Q901", "A former country")
    world.items["Q901"].redirect = "Q100"
    oxigraph.serve(world)
    polled = list(open_wikidata(subjects=watched).poll(None))
    assert {pair for step in polled for pair in step.merged_objects} == {("wd:Q901", "wd:Q100")}


def test_a_subject_that_redirects_to_itself_keeps_its_facts(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.items["Q101"].redirect = "Q101"
    oxigraph.serve(world)
    for _ in range(3):
        sink.drain(connector)
    for step in connector.snapshot([("wd:Q101", "wdt:P6"), ("wd:Q102", "wdt:P6")]):
        sink.commit(step)
    assert sink.moved == {}
    assert sink.values() == {"wd:Q100": ("wd:Q1",), "wd:Q101": ("wd:Q1",), "wd:Q102": ("wd:Q1",)}


def test_a_merged_subject_whose_heir_is_deleted_is_gone(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(3)
    world.add("Q900", "Heir", P6=[Claim("Q900-a", "Q2")])
    world.items["Q101"].redirect = "Q900"
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    assert sink.values()["wd:Q900"] == ("wd:Q2",)
    del world.items["Q900"]
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q102"]
    sink.drain(connector)
    assert sink.drain(connector) == 0


def test_only_relations_of_the_catalogue_that_this_wikibase_has_are_watched(oxigraph: SparqlServer) -> None:
    settings = {"kind": "wikidata", "endpoint": oxigraph.endpoint, "agent": AGENT, "subjects": ["wd:Q1"]}
    connector = connect("wd", settings, default_relations=["wdt:P6", "crm:owner", "wd:P36"])
    assert connector.relations == ("wdt:P6",)  # type: ignore[attr-defined]


def test_a_new_label_of_an_object_in_use_is_reported_though_its_subject_did_not_change(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(3)
    oxigraph.serve(world)
    sink, connector = Sink(), open_wikidata(subjects=watched)
    sink.drain(connector)
    world.touch("Q1", HOUR).labels["en"] = "One, renamed"
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.labels["wd:Q1"] == "One, renamed"
    assert sink.drain(connector) == 0


def test_a_subject_added_to_the_watch_list_is_read_though_it_changed_long_ago(
    oxigraph: SparqlServer, open_wikidata: Open, tmp_path: Path
) -> None:
    world, watched = countries(4)
    lead(world, "Q100", "Q2", after=timedelta(days=30))
    oxigraph.serve(world)
    (tmp_path / "watch.txt").write_text("# countries\nwd:Q100\n\nwd:Q101  # the second\n")
    sink, connector = Sink(), open_wikidata(subjects_file=str(tmp_path / "watch.txt"))
    sink.drain(connector)
    assert sorted(sink.values()) == watched[:2]
    with (tmp_path / "watch.txt").open("a") as file:
        file.write("wd:Q103\n")
    sink.drain(connector)
    assert sorted(sink.values()) == [watched[0], watched[1], watched[3]]


def test_a_relation_added_to_the_settings_is_read_for_old_subjects(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(3)
    world.items["Q101"].claims["P36"] = [Claim("Q101-capital", "Q2")]
    lead(world, "Q100", "Q1", after=timedelta(days=30))
    oxigraph.serve(world)
    sink = Sink()
    sink.drain(open_wikidata(subjects=watched))
    sink.drain(open_wikidata(subjects=watched))
    sink.slots.clear()  # the sink would take the same revisions for known
    sink.drain(open_wikidata(subjects=watched, relations=["wdt:P6", "wdt:P36"]))
    assert sink.values("wdt:P36") == {"wd:Q101": ("wd:Q2",)}


def test_a_watch_list_can_be_a_query(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(4)
    oxigraph.serve(world)
    query = "SELECT ?c WHERE { ?c <http://www.wikidata.org/prop/P6> ?any }"
    sink = Sink()
    sink.drain(open_wikidata(subjects_query=query))
    assert sorted(sink.values()) == watched
    with pytest.raises(SourceDataError, match="finds no subjects"):
        sink.drain(open_wikidata(subjects_query=query.replace("P6", "P7")))


def test_a_subject_that_leaves_a_query_s_list_because_its_slot_was_emptied_is_reported(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, watched = countries(4)
    oxigraph.serve(world)
    connector = open_wikidata(subjects_query="SELECT ?c WHERE { ?c <http://www.wikidata.org/prop/P6> ?any }")
    sink = Sink()
    sink.drain(connector)
    world.touch("Q101", HOUR).claims.clear()
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == [watched[0], watched[2], watched[3]]
    sink.drain(connector)
    assert sink.drain(connector) == 0


def test_a_snapshot_re_reads_what_it_is_asked_for(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(4)
    world.items["Q103"].redirect = "Q102"
    world.touch("Q101").claims.clear()
    oxigraph.serve(world)
    connector = open_wikidata(subjects=watched)
    asked = [(id, "wdt:P6") for id in (*watched, "wd:Q404")]
    polls = list(connector.snapshot(asked))
    found = {o.subject.id: (len(o.statements), o.gone) for poll in polls for o in poll.observations}
    assert found == {
        "wd:Q100": (1, False),
        "wd:Q101": (0, False),
        "wd:Q102": (1, False),
        "wd:Q404": (0, True),
    }
    assert [pair for poll in polls for pair in poll.redirects] == [("wd:Q103", "wd:Q102")]
    assert all(poll.cursor is None for poll in polls)


def test_a_snapshot_of_a_store_that_lost_everything_is_treated_as_failed(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    _, watched = countries(8)
    oxigraph.serve("")
    with pytest.raises(SourceUnavailable, match="none of the 8 requested subjects exists"):
        list(open_wikidata(subjects=watched).snapshot([(id, "wdt:P6") for id in watched]))


def test_neighbours_and_facts_are_those_that_hold_now(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(4)
    former = world.now - HOUR
    world.items["Q101"].claims["P6"] = [Claim("Q101-a", "Q1", end=former), Claim("Q101-b", "Q2")]
    world.items["Q102"].claims["P36"] = [Claim("Q102-c", "Q2")]
    world.items["Q103"].claims["P6"] += [Claim("Q103-b", "Q2")]  # two values at once: no neighbour of anyone
    oxigraph.serve(world)
    connector = open_wikidata(subjects=watched, relations=["wdt:P6", "wdt:P36"])
    found = connector.neighbours("wdt:P6", "wd:Q1", 10)
    assert [(t.subject.id, t.object.label) for t in found] == [("wd:Q100", "One"), ("wd:Q102", "One")]
    assert {t.subject.id for t in connector.neighbours("wdt:P6", None, 10)} == set(watched[:3])
    facts = connector.facts_of("wd:Q102", 10)
    assert sorted((t.relation, t.object.id) for t in facts) == [("wdt:P36", "wd:Q2"), ("wdt:P6", "wd:Q1")]


def test_check_tells_whether_there_is_something_to_sync(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    world, watched = countries(2)
    oxigraph.serve(world)
    assert open_wikidata(subjects=watched).check().ok
    health = open_wikidata(subjects=["wd:Q404"]).check()
    assert not health.ok
    assert "none of the first 1" in health.detail
    unreachable = open_wikidata(subjects=watched, endpoint="http://127.0.0.1:9/query", attempts=1).check()
    assert "cannot be reached" in unreachable.detail


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, r"sources\.wd: nothing to watch"),
        ({"subjects": ["wd:Q1"], "agent": "me"}, r"sources\.wd\.agent: agent 'me' contains no contact"),
        ({"subjects": ["wd:Q1"], "subject": "x"}, r"sources\.wd\.subject: there is no such setting"),
        ({"subjects": ["wd:Q1"], "relations": ["wd:P6"]}, r"relations: 'wd:P6' is"),
        ({"subjects": ["wd:Q1"], "relations": ["crm:owner"]}, r"relations: 'crm:owner' has no known prefix"),
        ({"subjects": ["Q1"]}, r"sources\.wd\.subjects: 'Q1' has no known prefix"),
        ({"subjects": ["wd:Q1"], "kind": "wikipedia"}, r"sources\.wd\.kind: 'wikipedia' is not a kind"),
        ({"subjects": ["wd:Q1"], "timeout_s": 0}, r"sources\.wd\.timeout_s: .*greater than or equal to 1"),
    ],
)
def test_wrong_settings_name_their_key(open_wikidata: Open, settings: dict[str, object], named: str) -> None:
    with pytest.raises(SourceSettingsError, match=named):
        open_wikidata(**settings)


def test_a_cursor_of_someone_else_is_refused(open_wikidata: Open) -> None:
    with pytest.raises(SourceDataError, match="clear it to read everything again"):
        next(iter(open_wikidata(subjects=["wd:Q1"]).poll("2021-01-01")))


def test_the_instances_of_a_class_are_watched_and_the_list_is_refreshed_on_schedule(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world, time = World(), VirtualTime(START + HOUR)
    world.add("Q1", "Leader 1")
    for id in ("Q100", "Q101", "Q102", "Q103"):
        world.add(id, id, P6=[Claim(f"{id}-0", "Q1")])
    world.items["Q102"].claims["P31"] = [Claim("Q102-class", "Q900", end=START)]
    direct = """
        wd:Q100 wdt:P31 wd:Q900 . wd:Q101 wdt:P31 wd:Q901 . wd:Q902 wdt:P279 wd:Q900 . wd:Q901 wdt:P279 wd:Q902 .
        wd:Q102 wdt:P31 wd:Q900 .
    """
    oxigraph.serve(world.turtle() + direct)
    sink = Sink()
    connector = open_wikidata(time.clock, subjects_classes=["wd:Q900"], subjects_every="1d")
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q101"], "instances of subclasses too, former ones not"
    oxigraph.serve(world.turtle() + direct + "wd:Q103 wdt:P31 wd:Q902 .")
    sink.drain(connector)
    assert "wd:Q103" not in sink.values(), "the list is used for a day"
    time.sleep(86_400)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q101", "wd:Q103"]
    with pytest.raises(SourceDataError, match="class wd:Q999 of subjects_classes finds no subjects"):
        sink.drain(open_wikidata(subjects_classes=["wd:Q999"]))


def test_a_graph_that_is_split_over_two_endpoints_is_one(oxigraph: SparqlServer, open_wikidata: Open) -> None:
    main, scholarly, time = World(), World(), VirtualTime(START + HOUR)
    main.add("Q1", "Ann")
    main.add("Q2", "Bob")
    main.add("Q100", "Country", P6=[Claim("Q100-0", "Q1")])
    scholarly.revision = 5_000
    scholarly.add("Q200", "Article", P6=[Claim("Q200-0", "Q2")])
    with running_oxigraph() as other:
        oxigraph.serve(main)
        other.serve(scholarly)
        settings = {"subjects": ["wd:Q100", "wd:Q200"], "more_endpoints": [other.endpoint]}
        sink, connector = Sink(), open_wikidata(time.clock, **settings)
        sink.drain(connector)
        assert sink.values() == {"wd:Q100": ("wd:Q1",), "wd:Q200": ("wd:Q2",)}
        assert sink.labels["wd:Q2"] == "Bob", "the object is in the other part"
        main.touch("Q2").labels = {"en": "Robert"}
        scholarly.now = main.now
        scholarly.touch("Q200").claims["P6"] = [Claim("Q200-1", "Q1")]
        oxigraph.serve(main)
        other.serve(scholarly)
        sink.drain(connector)
        assert sink.values()["wd:Q200"] == ("wd:Q1",)
        main.touch("Q1").labels = {"en": "Anna"}
        oxigraph.serve(main)
        sink.drain(connector)
        assert sink.labels["wd:Q1"] == "Anna", "the label of an object in another part is followed"
        assert "statements with ranks" in connector.check().extra["has"]
    with pytest.raises(SourceUnavailable):
        sink.drain(open_wikidata(time.clock, attempts=1, **settings))
    assert len(sink.values()) == 2, "a part that does not answer deletes nothing"


def test_an_endpoint_with_truthy_values_only_is_found_out_at_the_start(
    oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world = World()
    world.add("Q100", "Country")
    oxigraph.serve(world.turtle() + "wd:Q100 wdt:P6 wd:Q1 .")
    with pytest.raises(SourceDataError, match="Load the full dump"):
        Sink().drain(open_wikidata(subjects=["wd:Q100"]))
