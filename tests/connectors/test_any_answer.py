"""Whatever a server answers, only declared errors leave a connector, and what it gives can be stored."""

from __future__ import annotations

import json
import logging
import random
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.border import MAX_NUMBER, well_formed
from connectors.errors import ConnectorError
from connectors.http.client import Requester
from connectors.http.exchange import new_client
from connectors.http.limits import Limiters
from connectors.http.sse import EventParser
from connectors.observations import Connector, Entity, Poll
from connectors.registry import connect
from connectors.wikidata import entity_data
from connectors.wikidata.isolated_graph import GraphProcess
from connectors.wikidata.mutations import announced
from tests.support.hostile_answers import Hostile, Reply
from tests.support.properties import drawing, editions
from tests.support.sink import Sink
from tests.support.sparql_server import AGENT
from tests.support.virtual_time import VirtualTime
from tests.support.wikibase_world import START

SUBJECTS = [f"wd:Q{n}" for n in range(100, 104)]
SLOTS = [(subject, "wdt:P6") for subject in SUBJECTS]
COMMON: dict[str, Any] = {
    "endpoint": "http://kb.example/sparql",
    "agent": AGENT,
    "attempts": 2,
    "max_bytes": 2**20,
    "max_vanished": 1.0,
    "step_deadline_s": 300.0,
}
KINDS: dict[str, dict[str, Any]] = {
    "wikidata": {"subjects": SUBJECTS, "relations": ["wdt:P6"]},
    "wikidata-stream": {
        "subjects": SUBJECTS,
        "relations": ["wdt:P6"],
        "stream": "http://kb.example/stream",
        "entity_data": "http://kb.example/entity",
    },
    "sparql": {
        "query": "SELECT ?subject ?object WHERE { ?subject ?p ?object }",
        "relation": "wdt:P6",
        "rows_per_request": 60,
    },
}


@dataclass
class Server:
    """A hostile server without a network."""

    hostile: Hostile

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/stream":
            if self.hostile.chance.random() < 0.8:
                pieces = b"".join(self.hostile.events() for _ in range(3))
                return _response(Reply(200, {"Content-Type": "text/event-stream"}, pieces))
            return _response(self.hostile.refusal())
        if request.url.path.startswith("/entity"):
            return _response(self.hostile.entity())
        return _response(self.hostile.sparql(urllib.parse.unquote_plus(request.content.decode())))


REPLACEMENTS: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    10**30,
    "",
    "x",
    "\ud800",
    [],
    [None],
    {},
    {"type": "uri"},
)


@dataclass
class Replacing(Server):
    """A good server, but one part of each answer of SPARQL is of another type."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        response = super().__call__(request)
        if "json" not in response.headers.get("Content-Type", ""):
            return response
        chance = self.hostile.chance
        document = json.loads(b"".join(response.iter_raw()))
        parts = list(parts_of(document))
        holder, key = chance.choice(parts)
        holder[key] = chance.choice(REPLACEMENTS)
        return _response(Reply(200, dict(response.headers), json.dumps(document).encode()))


def parts_of(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each part of a JSON document, as the container that holds it and its place there."""
    places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in places:
        yield value, key
        yield from parts_of(part)


def _response(reply: Reply) -> httpx.Response:
    headers = {name.encode(): value.encode() for name, value in reply.headers.items()}
    return httpx.Response(reply.status, headers=list(headers.items()), stream=httpx.ByteStream(reply.body))


@pytest.fixture
def answered_by(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], None]:
    """From now on every requester's client is answered by the server given."""

    def answer(server: Server) -> None:
        monkeypatch.setattr(Requester, "client", new_client(httpx.MockTransport(server)))

    return answer


@pytest.fixture(scope="module")
def parser() -> Iterator[GraphProcess]:
    """One process that parses the entity data of all examples: starting it takes longer than an example."""
    process = GraphProcess(max_seconds=75.0)
    yield process
    process.close()


@pytest.fixture(autouse=True)
def parsed_by(parser: GraphProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity_data, "GraphProcess", lambda max_seconds: parser)


@pytest.fixture(autouse=True)
def without_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand examples log a million warnings, which pytest would keep."""
    monkeypatch.setattr(logging.getLogger("connectors"), "level", logging.CRITICAL)


def opened(kind: str) -> Connector:
    time = VirtualTime(START)
    settings = {"kind": kind, **COMMON, **KINDS[kind]}
    return connect("kb", settings, clock=time.clock, limiters=Limiters(time.clock))


def take(steps: Iterator[Poll], sink: Sink) -> None:
    """Commits all steps; every one of them can be stored."""
    failure = ""
    try:
        for poll in steps:
            sink.commit(poll)
            for entity in entities(poll):
                for text in (entity.id, entity.label or "", *entity.aliases):
                    well_formed(text, "a text of the source")
            for observation in poll.observations:
                assert -1 <= observation.revision < MAX_NUMBER
                assert all(0 <= statement.references <= MAX_NUMBER for statement in observation.statements)
    except ConnectorError as error:
        failure = str(error)
    assert failure.isprintable(), repr(failure)


def entities(poll: Poll) -> Iterator[Entity]:
    yield from poll.labels
    for observation in poll.observations:
        yield observation.subject
        yield from (statement.object for statement in observation.statements if statement.object)
    yield from (Entity(id) for pair in poll.redirects for id in pair)


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", KINDS)
@editions(quick=60)
def test_only_declared_errors_leave_a_connector(
    answered_by: Callable[[Server], None], kind: str, examples: int
) -> None:
    @drawing(examples)
    @given(st.integers(0, 2**32))
    def holds(seed: int) -> None:
        chance = random.Random(seed)
        answered_by(Server(Hostile(chance, rate=chance.choice((0.02, 0.1, 0.3, 1.0)))))
        connector, sink = opened(kind), Sink()
        for _ in range(2):
            take(connector.poll(sink.cursor), sink)
        take(connector.snapshot(SLOTS), sink)
        for ask in (
            lambda: connector.neighbours("wdt:P6", "wd:Q1", 5),
            lambda: connector.facts_of("wd:Q100", 5),
        ):
            try:
                ask()
            except ConnectorError:
                continue
        assert connector.check().detail.isprintable()

    holds()


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("kind", KINDS)
@editions(quick=40)
def test_a_part_of_another_type_is_refused_or_costs_its_row(
    answered_by: Callable[[Server], None], kind: str, examples: int
) -> None:
    @drawing(examples)
    @given(st.integers(0, 2**32))
    def holds(seed: int) -> None:
        answered_by(Replacing(Hostile(random.Random(seed), rate=0.0)))
        connector, sink = opened(kind), Sink()
        take(connector.poll(sink.cursor), sink)
        take(connector.snapshot(SLOTS), sink)

    holds()


@editions(quick=100)
def test_any_bytes_of_a_stream_are_events_or_nothing(examples: int) -> None:
    fields = st.sampled_from(
        [b"data: {}", b"data:", b"id: 1", b"id: \xff", b"\r", b"\n", b"\r\n", b":", b"\0"]
    )
    pieces = st.lists(st.one_of(st.binary(max_size=200), fields), max_size=30)

    @drawing(examples)
    @given(pieces)
    def holds(stream: list[bytes]) -> None:
        parser = EventParser(max_event=500)
        for piece in stream:
            for event in parser.feed(piece):
                httpx.Request("GET", "http://e/", headers={b"Last-Event-ID": event.id.encode()})
                announced(event, "wikidatawiki")

    holds()
