"""A JSON dump: what it states equals what an endpoint states of the same world, wherever reading was interrupted."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.errors import SourceDataError, SourceSettingsError
from connectors.wikidata.dump import file as dump_file
from connectors.wikidata.dump import reading
from connectors.wikidata.dump.entities import rdf_time
from connectors.wikidata.dump.opening import cursor_after, open_dump, settings_of, subjects_in
from connectors.wikidata.dump.reading import Dump, DumpPlace, DumpStep
from connectors.wikidata.settings import WatchSettings
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, Open, SparqlServer
from tests.support.wikibase_dump import text, write
from tests.support.wikibase_world import NO_VALUE, SOME_VALUE, START, Claim, World

DAY = timedelta(days=1)


def opened(path: Path, watched: list[str] | None = None, relations: tuple[str, ...] = ("wdt:P6",)) -> Dump:
    return open_dump("wd", path, None, relations, watched, lambda: START)


def silent(share: float) -> None:
    assert 0 <= share <= 1


def steps(dump: Dump, place: DumpPlace | None = None) -> list[DumpStep]:
    """Every step of an import from `place` on, with labels for whatever has none."""
    place = place or DumpPlace("test")
    found = list(dump.statements(place, silent)) if place.stage == "statements" else []
    named = {s.object.id for step in found for o in step.poll.observations for s in o.statements if s.object}
    at = found[-1].place if found else place
    return [*found, *dump.labels(named, at, silent)]


def polling(oxigraph: SparqlServer, watched: list[str]) -> WatchSettings:
    """The settings of a source that polls this watch list."""
    given = {"kind": "wikidata", "endpoint": oxigraph.endpoint, "agent": AGENT, "subjects": watched}
    settings = settings_of("wd", given)
    assert settings is not None
    return settings


def sunk(found: list[DumpStep]) -> Sink:
    sink = Sink()
    for step in found:
        sink.commit(step.poll)
    return sink


def stated(sink: Sink) -> dict[tuple[str, str], Any]:
    """Statements, with the labels that are known of their objects."""
    return {
        slot: [
            (replace(s, object=None), s.object and (s.object.id, sink.labels.get(s.object.id))) for s in held
        ]
        for slot, held in sink.statements().items()
    }


def rich_world() -> World:
    """Every shape that a statement takes."""
    world = World()
    world.add("Q5", "human")
    world.add("Q1", "Conte", P31=[Claim("Q1-h", "Q5")])
    world.add("Q2", "Draghi", P31=[Claim("Q2-h", "Q5")], P570=[Claim("Q2-d", SOME_VALUE)])
    world.items["Q2"].aliases = ["Mario Draghi", "Super Mario"]
    world.items["Q1"].labels["fr"] = "Comte"
    world.items["Q5"].labels = {"mul": "Homo"}
    world.add(
        "Q38",
        "Italy",
        P6=[
            Claim("Q38-a", "Q1", start=datetime(2018, 6, 1, tzinfo=UTC), start_precision=11, references=2),
            Claim("Q38-b", "Q2", rank="Preferred", end=SOME_VALUE, references=1),
            Claim("Q38-c", "Q5", rank="Deprecated", end=datetime(1990, 1, 1, tzinfo=UTC), end_precision=9),
            Claim("Q38-d", NO_VALUE),
            Claim("Q38-e", SOME_VALUE),
            Claim("Q38-f", '"42"'),
            Claim("Q38-g", "<https://italy.example/?q=1>"),
        ],
        P36=[Claim("Q38-h", "Q5")],
    )
    world.add("Q29", "Spain", P36=[Claim("Q29-a", "Q1")])
    return world


def test_a_dump_states_what_the_endpoint_states(
    tmp_path: Path, oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world = rich_world()
    oxigraph.serve(world)
    watched, relations = ["wd:Q1", "wd:Q2", "wd:Q29", "wd:Q38"], ("wdt:P31", "wdt:P36", "wdt:P6")
    polled = Sink()
    polled.drain(open_wikidata(subjects=watched, relations=list(relations)))
    read = sunk(steps(opened(write(world, tmp_path / "dump.json"), watched, relations)))
    assert stated(read) == stated(polled)
    by_subject = {o.subject.id: o.subject for o in read.slots.values()}
    assert by_subject == {o.subject.id: o.subject for o in polled.slots.values()}
    assert {o.revision for o in read.slots.values()} == {o.revision for o in polled.slots.values()}
    assert {o.modified for o in read.slots.values()} == {o.modified for o in polled.slots.values()}


def without_fast_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `dump` is not installed."""
    for name in ("isal", "rapidgzip"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("name", ["dump.json", "dump.json.gz", "dump.json.bz2"])
@pytest.mark.parametrize("fast", [True, False])
def test_every_compression_gives_the_same(
    tmp_path: Path, name: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        without_fast_readers(monkeypatch)
    world = rich_world()
    read = sunk(steps(opened(write(world, tmp_path / name), ["Q38"])))
    assert set(read.slots) == {("wd:Q38", "wdt:P6")}
    assert read.labels["wd:Q1"] == "Conte"


def test_without_a_watch_list_every_entity_with_a_relation_is_read(tmp_path: Path) -> None:
    read = sunk(steps(opened(write(rich_world(), tmp_path / "dump.json"), None, ("wdt:P36",))))
    assert {subject for subject, _ in read.slots} == {"wd:Q38", "wd:Q29"}


@pytest.mark.parametrize("name", ["dump.json", "dump.json.gz", "dump.json.bz2"])
def test_reading_goes_on_after_any_step(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_SLOTS", "_LABELS", "_LINES"):
        monkeypatch.setattr(reading, limit, 1)
    world = World()
    for number in range(1, 8):
        world.add(f"Q{number}", f"Leader {number}")
        world.add(f"Q{100 + number}", f"Country {number}", P6=[Claim(f"Q{100 + number}-a", f"Q{number}")])
    path = write(world, tmp_path / name)
    whole = steps(opened(path))
    expected = stated(sunk(whole))
    assert len(expected) == 7
    for cut, step in enumerate(whole):
        place = DumpPlace.load(step.place.dump())
        statements = [] if place.stage != "statements" else list(opened(path).statements(place, silent))
        at = statements[-1].place if statements else place
        ids = {f"wd:Q{number}" for number in range(1, 8)}
        labels = list(opened(path).labels(ids, at, silent)) if at.stage == "labels" else []
        resumed = [*whole[: cut + 1], *statements, *labels]
        assert stated(sunk(resumed)) == expected
        assert (resumed[-1].place.stage, resumed[-1].place.lines) == ("admission", 14)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2"])
@pytest.mark.parametrize("fast", [True, False])
def test_a_dump_that_was_cut_off_or_damaged_is_not_taken_for_a_whole_one(
    tmp_path: Path, suffix: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        without_fast_readers(monkeypatch)
    world = World()
    noise = random.Random(3)
    for number in range(2_000):
        world.add(f"Q{number + 1}", f"{noise.random()}", P6=[Claim(f"Q{number}-{noise.random()}", "Q1")])
    path = write(world, tmp_path / f"dump.json{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SourceDataError, match=r"dump\.json.*(closing bracket|damaged)"):
        steps(opened(path))
    if suffix:
        path.write_bytes(whole[: len(whole) // 2] + bytes(500) + whole[len(whole) // 2 + 500 :])
        with pytest.raises(SourceDataError, match=r"dump\.json.* is damaged"):
            steps(opened(path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "closing bracket"),
        (b"<html>not found</html>\n", "not a line of a JSON dump"),
        (b"[\n{}\n]\n[\n", "more after the closing bracket"),
        (b"\x1f\x8bnonsense", "damaged"),
        (b"BZhnonsense", "damaged"),
    ],
)
def test_what_is_no_dump_is_refused_with_its_path(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "dump.json"
    path.write_bytes(content)
    with pytest.raises(SourceDataError, match=complaint) as refused:
        steps(opened(path))
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"item","id":"Q1",,}',
        b'{"type":"item","id":"Q1"}',
        b'{"type":"item","id":["Q1"],"lastrevid":3}',
        b'{"type":"item","id":"Q1","lastrevid":"many"}',
        b'{"type":"item","id":"Q1","labels":{"en":{"language":"en","value":"\xff"}},"lastrevid":3}',
        b'{"id":"Q1","claims":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b"{" + b'"Q1"' + b"}",
    ],
)
def test_a_line_that_is_no_entity_is_counted_and_the_others_are_read(tmp_path: Path, line: bytes) -> None:
    world = World()
    world.add("Q2", "Italy", P6=[Claim("Q2-a", "Q3")])
    path = tmp_path / "dump.json"
    path.write_bytes(b"[\n" + line + b",\n" + text(world)[2:])
    found = list(opened(path).statements(DumpPlace("test"), silent))
    assert [o.subject.id for step in found for o in step.poll.observations] == ["wd:Q2"]
    assert [(step.poll.rejected, "line before byte" in step.poll.reject) for step in found] == [(1, True)]


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        ({"mainsnak": {"snaktype": "odd"}}, set()),
        (
            {"mainsnak": {"snaktype": "value", "datavalue": {"type": "time", "value": {"time": "soon"}}}},
            set(),
        ),
        ({"mainsnak": {"snaktype": "value", "datavalue": {"type": "unheard-of", "value": {}}}}, set()),
        ({"id": 7}, set()),
        ({"rank": "best"}, set()),
        ({"references": {}}, {"wdt:P6"}),
    ],
)
def test_a_slot_with_an_unusable_statement_is_left_out_as_a_whole(
    tmp_path: Path, damage: dict[str, Any], left: set[str]
) -> None:
    world = World()
    world.add("Q1", "One")
    world.add("Q2", "Italy", P6=[Claim("Q2-a", "Q1"), Claim("Q2-b", "Q1")], P36=[Claim("Q2-c", "Q1")])
    documents = json.loads(text(world))
    documents[1]["claims"]["P6"][1] |= damage
    path = tmp_path / "dump.json"
    path.write_text("[\n" + ",\n".join(map(json.dumps, documents)) + "\n]\n")
    read = sunk(steps(opened(path, None, ("wdt:P36", "wdt:P6"))))
    assert {relation for _, relation in read.slots} == {"wdt:P36"} | left


@pytest.mark.parametrize(
    ("json_time", "precision", "calendar", "rdf"),
    [
        ("+1952-03-11T00:00:00Z", 11, "Q1985727", "1952-03-11T00:00:00Z"),
        ("+1952-00-00T00:00:00Z", 9, "Q1985727", "1952-01-01T00:00:00Z"),
        ("+1952-03-00T00:00:00Z", 10, "Q1985727", "1952-03-01T00:00:00Z"),
        ("+1582-10-05T00:00:00Z", 11, "Q1985786", "1582-10-15T00:00:00Z"),
        ("+1918-01-31T00:00:00Z", 11, "Q1985786", "1918-02-13T00:00:00Z"),
        ("+1066-10-14T00:00:00Z", 11, "Q1985786", "1066-10-20T00:00:00Z"),
        ("-0044-03-15T00:00:00Z", 11, "Q1985786", "-0043-03-15T00:00:00Z"),
    ],
)
def test_times_are_written_as_rdf_has_them(json_time: str, precision: int, calendar: str, rdf: str) -> None:
    assert rdf_time(json_time, precision, f"http://www.wikidata.org/entity/{calendar}") == rdf


def test_paths_and_watch_lists_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceSettingsError, match=r"missing\.json cannot be read"):
        opened(tmp_path / "missing.json")
    empty = tmp_path / "none.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(SourceSettingsError, match="names no entity"):
        subjects_in(empty)
    path = write(rich_world(), tmp_path / "dump.json")
    with pytest.raises(SourceSettingsError, match="watch list"):
        opened(path, ["nowhere:Q1"])
    with pytest.raises(SourceSettingsError, match="none of the relations"):
        opened(path, None, ("crm:owner",))


def test_the_next_poll_reads_exactly_what_changed_since_the_dump(
    tmp_path: Path, oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    """However long ago: the poll compares versions, not dates."""
    world = World()
    world.add("Q1", "One")
    world.add("Q2", "Two")
    watched = [f"wd:Q{100 + n}" for n in range(8)]
    for n in range(7):
        world.add(f"Q{100 + n}", f"Country {n}", P6=[Claim(f"Q{100 + n}-a", "Q1")])
    world.touch("Q106", 400 * DAY)  # the dump's latest change is long after the others
    path = write(world, tmp_path / "dump.json.gz")
    found = steps(opened(path, watched))
    sink = sunk(found)
    revisions = [(o.subject.id, o.revision) for o in sink.slots.values()]

    changed = world.touch("Q103", -399 * DAY)  # dated long before the dump's latest change
    changed.claims["P6"] = [Claim("Q103-b", "Q2")]
    del world.items["Q104"]
    world.add("Q107", "Country 7", P6=[Claim("Q107-a", "Q2")])
    oxigraph.serve(world)
    settings = polling(oxigraph, watched)
    now = START + 500 * DAY
    sink.cursor = cursor_after(settings, revisions, found[-1].place, now)
    connector = open_wikidata(subjects=watched)
    read = set()
    for poll in connector.poll(sink.cursor):
        read |= {o.subject.id for o in poll.observations}
        sink.commit(poll)
    assert read == {"wd:Q103", "wd:Q104", "wd:Q107"}
    assert sink.values() == {
        id: ("wd:Q1",) for id in watched if id not in ("wd:Q103", "wd:Q104", "wd:Q107")
    } | {
        "wd:Q103": ("wd:Q2",),
        "wd:Q107": ("wd:Q2",),
    }
    assert not [o for poll in connector.poll(sink.cursor) for o in poll.observations]


def test_a_poll_after_a_dump_that_is_cut_after_any_step_still_reads_all(
    tmp_path: Path, oxigraph: SparqlServer, open_wikidata: Open
) -> None:
    world = World()
    world.add("Q1", "One")
    world.add("Q2", "Two")
    watched = [f"wd:Q{100 + n}" for n in range(6)]
    for n in range(6):
        world.add(f"Q{100 + n}", f"Country {n}", P6=[Claim(f"Q{100 + n}-a", "Q1")])
    found = steps(opened(write(world, tmp_path / "dump.json"), watched))
    revisions = [(o.subject.id, o.revision) for o in sunk(found).slots.values()]
    for n in range(5):
        world.touch(f"Q{100 + n}").claims["P6"] = [Claim(f"Q{100 + n}-b", "Q2")]
    oxigraph.serve(world)
    settings = polling(oxigraph, watched)
    connector = open_wikidata(subjects=watched, slots_per_step=1)
    begin = cursor_after(settings, revisions, found[-1].place, START + DAY)
    for cut in range(1, 8):
        sink = sunk(found)
        sink.cursor = begin
        sink.drain(connector, at_most=cut)
        sink.drain(connector)
        assert sink.values() == dict.fromkeys(watched[:5], ("wd:Q2",)) | {watched[5]: ("wd:Q1",)}


def test_two_files_of_equal_beginning_and_other_length_are_two_dumps(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_bytes(b"[\n]\n")
    other.write_bytes(b"[\n]\n\n")
    assert dump_file.DumpFile(one).identity != dump_file.DumpFile(other).identity
    assert dump_file.DumpFile(one).identity == dump_file.DumpFile(one).identity
