"""The mutation stream as trigger: resumed where it broke off, ordered by revision, read at the source."""

from __future__ import annotations

import http.server
import time as clock
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from connectors.errors import SourceRefused, SourceSettingsError, SourceUnavailable
from connectors.http.limits import Limiters
from connectors.http.sse import EventParser, StreamEvent
from connectors.observations import Connector, Rewindable
from connectors.registry import connect
from connectors.wikidata.mutations import announced
from tests.support.obedient_server import ObedientServer, answer
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtual_time import VirtualTime
from tests.support.wiki_server import WikiServer
from tests.support.wikibase_world import START, Claim, Item, World

Open = Callable[..., Connector]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def wiki() -> Iterator[WikiServer]:
    server = WikiServer()
    yield server
    server.close()


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime(START + 10 * MINUTE)  # edits happen in the minutes before


@pytest.fixture
def open_stream(oxigraph: SparqlServer, wiki: WikiServer, time: VirtualTime) -> Iterator[Open]:
    limiters = Limiters(time.clock)
    opened: list[Connector] = []

    def open_(**settings: object) -> Connector:
        own = {
            "kind": "wikidata-stream",
            "endpoint": oxigraph.endpoint,
            "agent": AGENT,
            "subjects": ["wd:Q100", "wd:Q101", "wd:Q102"],
            "relations": ["wdt:P6"],
            "stream": f"{wiki.base}/stream",
            "entity_data": f"{wiki.base}/entity",
            "attempts": 2,
        }
        opened.append(connect("wd", {**own, **settings}, clock=time.clock, limiters=limiters))
        return opened[-1]

    yield open_
    for connector in opened:
        connector.close()


@pytest.fixture
def world(oxigraph: SparqlServer) -> World:
    world = World()
    for n in (1, 2, 3):
        world.add(f"Q{n}", f"Leader {n}")
    for n in (100, 101, 102):
        world.add(f"Q{n}", f"Country {n}", P6=[Claim(f"Q{n}-0", "Q1")])
    oxigraph.serve(world)
    return world


def edit(world: World, wiki: WikiServer, id: str, leader: str, parts: int = 1) -> None:
    item = world.touch(id)
    item.claims["P6"] = [Claim(f"{id}-{item.version}", leader)]
    wiki.publish(item, parts=parts)
    wiki.keep(world, id)


def test_the_watch_list_first_then_only_what_the_stream_names(
    wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    assert sink.values() == dict.fromkeys(("wd:Q100", "wd:Q101", "wd:Q102"), ("wd:Q1",))
    edit(world, wiki, "Q101", "Q2")
    edit(world, wiki, "Q3", "Q2")  # nobody watches it
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",)
    assert sink.labels["wd:Q2"] == "Leader 2"
    assert wiki.read == [f"/entity/Q101.ttl?flavor=dump&revision={world.items['Q101'].version}"]
    assert sink.drain(connector) == 0


def test_a_broken_connection_is_taken_up_after_the_last_whole_event(
    wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    wiki.break_after = 2
    for n, leader in enumerate(("Q2", "Q3", "Q2", "Q3", "Q2")):
        edit(world, wiki, f"Q{100 + n % 3}", leader)
    wiki.asked.clear()
    sink.drain(connector)
    assert sink.values() == {"wd:Q100": ("wd:Q3",), "wd:Q101": ("wd:Q2",), "wd:Q102": ("wd:Q2",)}
    assert [asked.partition(" ")[0] for asked in wiki.asked] == ["since", "after", "after", "after"]


def test_a_stream_that_refuses_every_second_connection_is_read_to_its_end(
    wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    wiki.asked.clear()
    wiki.break_after, wiki.refuse_every_second = 1, True
    for id in ("Q100", "Q101", "Q102"):
        edit(world, wiki, id, "Q2")
    for _ in range(3):
        with pytest.raises(SourceRefused, match="HTTP 403"):
            sink.drain(connector)
    assert set(sink.values().values()) == {("wd:Q2",)}


def test_a_poll_that_was_not_committed_is_delivered_again(
    wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream(events_per_step=1)
    sink.drain(connector)
    for n in (100, 101, 102):
        edit(world, wiki, f"Q{n}", "Q2")
    sink.drain(connector, at_most=1)
    assert sorted(sink.values().values()) == [("wd:Q1",), ("wd:Q1",), ("wd:Q2",)]
    sink.drain(open_stream(events_per_step=1))
    assert set(sink.values().values()) == {("wd:Q2",)}


def test_the_highest_revision_wins_whatever_the_order(
    wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2", parts=3)
    edit(world, wiki, "Q100", "Q3", parts=2)
    wiki.events.reverse()
    sink.drain(connector)
    assert sink.values()["wd:Q100"] == ("wd:Q3",)
    assert len(wiki.read) == 1


def test_a_deleted_entity_empties_its_slots_once_the_query_service_agrees(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    wiki.publish(world.touch("Q102"), operation="delete")
    sink.drain(connector)
    assert len(sink.values()) == 3
    del world.items["Q102"]
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q101"]
    assert sink.drain(connector) == 0


@pytest.mark.parametrize("told", [True, False])
def test_an_entity_that_is_undeleted_is_there_again_whether_or_not_the_stream_says_so(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, time: VirtualTime, open_stream: Open, told: bool
) -> None:
    wiki.keep(world, "Q102")
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    item = world.items.pop("Q102")
    oxigraph.serve(world)
    wiki.publish(item, operation="delete")
    sink.drain(connector)
    assert "wd:Q102" not in sink.values()
    world.items["Q102"] = item
    oxigraph.serve(world)
    if told:
        wiki.publish(item, operation="import")
    else:
        time.sleep(timedelta(days=1).total_seconds())  # the daily pass over the watch list
    sink.drain(connector)
    assert sink.values()["wd:Q102"] == ("wd:Q1",)


def test_a_merge_looks_like_a_deletion_and_moves_the_facts(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    world.add("Q900", "Heir", P6=world.items["Q102"].claims["P6"])
    wiki.publish(world.touch("Q102"), operation="delete")
    world.items["Q102"].redirect = "Q900"
    oxigraph.serve(world)
    sink.drain(connector)
    sink.drain(connector)
    assert sink.moved == {"wd:Q102": "wd:Q900"}
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q101", "wd:Q900"]
    edit(world, wiki, "Q900", "Q3")  # the heir is followed
    sink.drain(connector)
    assert sink.values()["wd:Q900"] == ("wd:Q3",)


def test_what_the_query_service_does_not_have_yet_stays_due(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream(entity_data=None)
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2")  # the stream knows, the query service does not
    sink.drain(connector)
    assert sink.values()["wd:Q100"] == ("wd:Q1",)
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q100"] == ("wd:Q2",)
    assert sink.drain(connector) == 0


def test_after_a_long_absence_the_watch_list_is_read_instead(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, time: VirtualTime, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2")
    oxigraph.serve(world)
    wiki.events.clear()  # the stream has forgotten
    time.sleep(timedelta(days=8).total_seconds())
    sink.drain(connector)
    assert sink.values()["wd:Q100"] == ("wd:Q2",)


def test_a_stream_that_does_not_know_our_place_is_restarted(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2")
    sink.drain(connector)
    edit(world, wiki, "Q101", "Q2")
    oxigraph.serve(world)
    wiki.events.clear()
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",)
    edit(world, wiki, "Q102", "Q2")
    sink.drain(connector)
    assert sink.values()["wd:Q102"] == ("wd:Q2",)


def test_canaries_and_nonsense_are_passed_over(wiki: WikiServer, world: World, open_stream: Open) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2")
    wiki.add({"dt": "2021-01-01T00:00:30Z", "meta": {"domain": "canary"}, "entity_id": "Q100"})
    wiki.add({"dt": "2021-01-01T00:00:31Z", "entity_id": "Q100", "operation": "diff"})
    sink.drain(connector)
    assert sink.values()["wd:Q100"] == ("wd:Q2",)


def test_an_entity_that_cannot_be_read_stays_due_and_the_others_are_read(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    for id in ("Q100", "Q101", "Q102"):
        edit(world, wiki, id, "Q2")
    wiki.revisions["Q101", world.items["Q101"].version] = "<< this is no Turtle"
    sink.drain(connector)
    assert sink.values() == {"wd:Q100": ("wd:Q2",), "wd:Q101": ("wd:Q1",), "wd:Q102": ("wd:Q2",)}
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",)


def test_a_date_to_come_in_the_stream_is_now(
    wiki: WikiServer, world: World, time: VirtualTime, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    edit(world, wiki, "Q100", "Q2")
    wiki.events[0]["dt"] = "9000-01-01T00:00:00Z"
    edit(world, wiki, "Q101", "Q2")
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q2",), "it does not look as if we had caught up"
    wiki.events.clear()
    time.sleep(timedelta(days=8).total_seconds())
    wiki.asked.clear()
    sink.drain(connector)
    assert wiki.asked[0].startswith("since"), "the stream has forgotten our place, and we know"


def test_a_stream_of_comments_ends_the_poll_in_time(world: World, open_stream: Open) -> None:
    """It never falls silent, and it never says anything."""
    server, left = ObedientServer(), []

    def comments(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        left.append(10_000)
        while left[-1]:
            request.wfile.write(b":" + b"x" * 1_000 + b"\n")
            request.wfile.flush()
            left[-1] -= 1
            clock.sleep(0.01)

    def headers(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nX-Slow: ")
        left.append(10_000)
        while left[-1]:
            request.wfile.write(b"x")
            request.wfile.flush()
            left[-1] -= 1
            clock.sleep(0.01)

    try:
        server.handle = comments
        Sink().drain(open_stream(stream=server.url, follow_s=0.3))
        server.handle = headers
        with pytest.raises(SourceUnavailable, match="no stream started"):
            Sink().drain(open_stream(stream=server.url, follow_s=0.3, attempts=1))
        assert len(left) >= 2
        assert all(left), "both were left while they still spoke"
    finally:
        server.close()


@pytest.mark.parametrize("key", ["endpoint", "stream", "entity_data"])
def test_no_address_of_a_stream_holds_a_password(open_stream: Open, key: str) -> None:
    with pytest.raises(SourceSettingsError, match=rf"sources\.wd\.{key}: .*`user` and `password`") as caught:
        open_stream(**{key: "https://u:open-sesame@wiki.example/"})
    assert "open-sesame" not in str(caught.value)


@pytest.mark.parametrize("key", ["stream", "entity_data"])
def test_neither_the_stream_nor_entity_data_leads_to_another_host(
    wiki: WikiServer, world: World, open_stream: Open, key: str
) -> None:
    server, elsewhere = ObedientServer(), ObedientServer()
    server.handle = answer(302, b"", Location=elsewhere.url)
    try:
        sink = Sink()
        sink.drain(open_stream())
        edit(world, wiki, "Q100", "Q2")
        with pytest.raises(SourceRefused, match="HTTP 302, Location"):
            sink.drain(open_stream(**{key: server.url}))
        assert elsewhere.heard == []
    finally:
        server.close()
        elsewhere.close()


def test_an_event_that_is_too_large_is_dropped_and_the_others_go_on() -> None:
    parser = EventParser(max_event=100)
    big = b"data: " + b"x" * 300
    stream = (
        b"id: 1\ndata: a\n\n" + big + b"\nid: 2\n\ndata: b\n\n" + 30 * b"data: 12345\n" + b"\ndata: c\n\n"
    )
    for size in (1, 7, 64, 10_000):
        parser = EventParser(max_event=100)
        pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
        events = [event.data for piece in pieces for event in parser.feed(piece)]
        expected = ["a", "b", "c"]
        # A piece that holds a whole event is as long as it is anyway.
        assert [data for data in events if len(data) <= 100] == expected
        assert size > 100 or events == expected


def test_an_id_that_no_header_can_carry_is_not_taken_up() -> None:
    parser = EventParser()
    for bad in (b"a\x00b", b"a\x07b", b"a\x7f", b"x" * 20_000):
        events = list(parser.feed(b"id: good\ndata: 1\n\nid: " + bad + b"\ndata: 2\n\n"))
        assert [event.id for event in events] == ["good", "good"]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_the_parser_takes_bytes_in_any_pieces(size: int, end: str) -> None:
    lines = [
        "\ufeff: hello",
        "",
        "id: 1",
        "data: é",
        "data:two",
        "",
        "event: other",
        "data: x",
        "",
        "data: cut",
    ]
    stream = end.join(lines).encode()
    parser = EventParser()
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    events = [event for piece in pieces for event in parser.feed(piece)]
    assert [(e.id, e.type, e.data) for e in events] == [("1", "message", "é\ntwo"), ("1", "other", "x")]


def test_an_event_ends_with_its_last_line_and_not_with_the_next_event() -> None:
    """A carriage return ends a line at once, though a line feed may follow it."""
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data: a\r\r")] == ["a"]
    assert [event.data for event in parser.feed(b"\ndata: b\r\n\r")] == ["b"]
    assert [event.data for piece in (b"\n", b"\n", b"data: c\n", b"\n") for event in parser.feed(piece)] == [
        "c"
    ]


def test_a_long_line_in_many_pieces_costs_no_more_than_its_length() -> None:
    joined = []

    class Counting(EventParser):
        def _field(self, line: str) -> None:
            joined.append(len(line))
            super()._field(line)

    parser = Counting(max_event=10**6)
    pieces = [b"data: ", *[b"x" * 10] * 50_000, b"\n\n", *[b"y" * 10**5] * 1_000, b"\n\ndata: z\n\n"]
    events = [event.data for piece in pieces for event in parser.feed(piece)]
    assert [len(data) for data in events] == [500_000, 1]
    assert joined == [500_006, 7]


@pytest.mark.parametrize(
    "data",
    [
        "[" * 100_000,
        '{"entity_id": "Q1", "rev_id": %s}' % ("7" * 5_000),
        '{"entity_id": "Q1", "rev_id": "²", "operation": "diff", "dt": "2024-01-01T00:00:00Z"}',
        '{"entity_id": "\\ud800", "rev_id": 7, "operation": "diff", "dt": "2024-01-01T00:00:00Z"}',
        '{"entity_id": null, "rev_id": 7, "operation": "diff", "dt": "2024-01-01T00:00:00Z"}',
        '{"meta": []}',
    ],
)
def test_an_event_that_is_nonsense_is_passed_over(data: str) -> None:
    assert announced(StreamEvent("1", "message", data), "wikidatawiki").mutation is None


@pytest.mark.parametrize("by_time", [True, False])
def test_events_of_one_millisecond_are_neither_lost_nor_doubled_when_the_connection_breaks(
    wiki: WikiServer, world: World, open_stream: Open, by_time: bool
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    wiki.ids_by_time, wiki.break_after = by_time, 1
    at = world.now + MINUTE
    for id in ("Q100", "Q101", "Q102"):
        world.now = at - MINUTE
        edit(world, wiki, id, "Q2")
    assert len({event["dt"] for event in wiki.events}) == 1
    sink.drain(connector)
    assert set(sink.values().values()) == {("wd:Q2",)}
    assert len(wiki.read) == 3


def test_a_deletion_that_names_the_deleted_revision_waits_for_a_server_that_lags(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream(entity_data=None)
    sink.drain(connector)
    wiki.publish(world.items["Q102"], operation="delete")
    for _ in range(2):
        sink.drain(connector)
        assert len(sink.values()) == 3, "the query service still has it"
    del world.items["Q102"]
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q100", "wd:Q101"]
    assert sink.drain(connector) == 0


def test_a_gap_in_the_stream_is_closed_by_a_pass_over_the_watch_list(
    oxigraph: SparqlServer,
    wiki: WikiServer,
    world: World,
    open_stream: Open,
    time: VirtualTime,
    caplog: pytest.LogCaptureFixture,
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    time.sleep(6 * 3600)
    edit(world, wiki, "Q100", "Q2")
    sink.drain(connector)
    for number in range(300):
        edit(world, wiki, "Q101" if number < 10 else "Q3", "Q2")
    edit(world, wiki, "Q102", "Q3")
    oxigraph.serve(world)
    wiki.kept_from = 250
    sink.drain(connector)
    assert sink.values()["wd:Q101"] == ("wd:Q1",)
    assert "no longer has the events before" in caplog.text
    sink.drain(connector)
    assert sink.values() == {"wd:Q100": ("wd:Q2",), "wd:Q101": ("wd:Q2",), "wd:Q102": ("wd:Q3",)}
    assert sink.drain(connector) == 0


def test_changed_entities_are_read_fifty_at_a_time_and_a_lagging_wiki_is_waited_for(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, time: VirtualTime, open_stream: Open
) -> None:
    subjects = [f"Q{1000 + n}" for n in range(120)]
    for id in subjects:
        world.add(id, id, P6=[Claim(f"{id}-0", "Q1")])
    oxigraph.serve(world)
    wiki.world, wiki.lagging = world, 1
    settings = {
        "subjects": [f"wd:{id}" for id in subjects],
        "entity_data": None,
        "api": f"{wiki.base}/w/api.php",
    }
    sink, connector = Sink(), open_stream(**settings)
    sink.drain(connector)
    time.sleep(6 * 3600)
    for id in subjects[:-1]:
        edit(world, wiki, id, "Q2")
    wiki.publish(world.items.pop(subjects[-1]), operation="delete")
    begun = time.clock.now()
    sink.drain(connector)
    assert [len(read.removeprefix("api ").split("|")) for read in wiki.read] == [50, 50, 50, 19]
    assert time.clock.now() - begun >= timedelta(seconds=5), "Retry-After was waited out"
    assert sink.values()[f"wd:{subjects[0]}"] == ("wd:Q2",)
    assert sink.labels["wd:Q2"] == "Leader 2"


def page_change(item: Item, kind: str = "edit", wiki: str = "wikidatawiki") -> dict[str, object]:
    """An event of `mediawiki.page_change.v1`."""
    return {
        "$schema": "/mediawiki/page/change/1.3.0",
        "dt": item.modified.isoformat(),
        "wiki_id": wiki,
        "page_change_kind": kind,
        "page": {"page_title": item.id, "namespace_id": 0},
        "revision": {"rev_id": item.version},
    }


def recent_change(item: Item, **fields: object) -> dict[str, object]:
    """An event of `mediawiki.recentchange`."""
    return {
        "$schema": "/mediawiki/recentchange/1.0.0",
        "dt": item.modified.isoformat(),
        "wiki": "wikidatawiki",
        "title": item.id,
        "timestamp": int(item.modified.timestamp()),
        **fields,
    }


def test_the_wiki_s_own_streams_announce_changes_too(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream(entity_data=None)
    sink.drain(connector)
    for id, leader in (("Q100", "Q2"), ("Q101", "Q3")):
        world.touch(id).claims["P6"] = [Claim(f"{id}-new", leader)]
    wiki.add(page_change(world.items["Q100"], wiki="dewiki"))
    oxigraph.serve(world)
    sink.drain(connector)
    assert set(sink.values().values()) == {("wd:Q1",)}, "another wiki's Q100 is not ours"
    wiki.add(page_change(world.items["Q100"]))
    wiki.add(recent_change(world.items["Q101"], type="edit", revision={"new": world.items["Q101"].version}))
    sink.drain(connector)
    assert sink.values() == {"wd:Q100": ("wd:Q2",), "wd:Q101": ("wd:Q3",), "wd:Q102": ("wd:Q1",)}
    wiki.add(page_change(world.items["Q100"], kind="delete"))
    wiki.add(recent_change(world.items["Q101"], type="log", log_type="delete", log_action="delete"))
    sink.drain(connector)
    assert len(sink.values()) == 3, "the query service still has them"
    kept = world.items.pop("Q100"), world.items.pop("Q101")
    oxigraph.serve(world)
    sink.drain(connector)
    assert sorted(sink.values()) == ["wd:Q102"]
    world.items |= {item.id: item for item in kept}
    oxigraph.serve(world)
    wiki.add(page_change(kept[0], kind="undelete"))
    wiki.add(recent_change(kept[1], type="log", log_type="delete", log_action="restore"))
    sink.drain(connector)
    assert sink.values() == {"wd:Q100": ("wd:Q2",), "wd:Q101": ("wd:Q3",), "wd:Q102": ("wd:Q1",)}


def test_a_rewound_source_reads_again_what_the_stream_announced_since(
    oxigraph: SparqlServer, wiki: WikiServer, world: World, open_stream: Open
) -> None:
    sink, connector = Sink(), open_stream()
    sink.drain(connector)
    to = world.now + MINUTE / 2
    for id in ("Q100", "Q101"):
        edit(world, wiki, id, "Q2")
    oxigraph.serve(world)
    sink.drain(connector)
    assert sink.drain(connector) == 0
    kept, wiki.read[:], wiki.asked[:] = sink.cursor, [], []
    assert kept is not None
    assert isinstance(connector, Rewindable)
    sink.cursor = connector.rewind(kept, to)
    sink.drain(connector)
    assert wiki.asked[0] == f"since {to.isoformat()}"
    assert len(wiki.read) == 2, "the events since then are read again"
    sink.cursor = connector.rewind(sink.cursor, None)
    sink.recorded = 0
    steps = sink.steps
    sink.drain(connector)
    assert sink.steps > steps
    assert sink.recorded == 0, "a ledger that has it all learns nothing new"
