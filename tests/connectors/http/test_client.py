"""Politeness and bounds of single requests, against a server that does as it is told."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import chain, repeat

import pytest

from connectors.errors import (
    AnswerTooLarge,
    ConnectorError,
    SourceRefused,
    SourceSettingsError,
    SourceThrottled,
    SourceTimeout,
    SourceUnavailable,
    TruncatedAnswer,
    UnexpectedAnswer,
)
from connectors.http.client import Requester, RequestLimits, check_agent
from connectors.http.limits import Budget, Limiters
from connectors.http.sparql_client import SparqlClient
from connectors.http.status import retry_after_s
from tests.support.fault_proxy import FaultProxy
from tests.support.obedient_server import Handle, ObedientServer, answer
from tests.support.sparql_server import AGENT, SparqlServer
from tests.support.virtual_time import VirtualTime
from tests.support.wikibase_world import World


def drip_headers(request: http.server.BaseHTTPRequestHandler) -> None:
    """A header without end: only a client that has had enough ends it."""
    for byte in chain(b"HTTP/1.0 200 OK\r\nX-Slow: ", repeat(ord("x"))):
        request.wfile.write(bytes([byte]))
        request.wfile.flush()
        time.sleep(0.05)


@pytest.fixture
def server() -> Iterator[ObedientServer]:
    found = ObedientServer()
    yield found
    found.close()


@pytest.fixture
def virtual() -> VirtualTime:
    return VirtualTime()


class Asker:
    """Both transports, asked the same way."""

    def __init__(self, url: str, virtual: VirtualTime, transport: str, **limits: object) -> None:
        self.requester = Requester(
            url, AGENT, RequestLimits(**limits), virtual.clock, Limiters(virtual.clock)
        )  # type: ignore[arg-type]
        self._transport = transport

    def ask(self) -> object:
        if self._transport == "sparql":
            return SparqlClient(self.requester).select("SELECT * WHERE { ?s ?p ?o }")
        return self.requester.get(self.requester.url)


Open = Callable[..., Asker]


@pytest.fixture(params=["sparql", "httpx"])
def asker(request: pytest.FixtureRequest, server: ObedientServer, virtual: VirtualTime) -> Open:
    return lambda **limits: Asker(server.url, virtual, request.param, **limits)


@pytest.mark.parametrize(
    ("handle", "error"),
    [
        (answer(403), SourceRefused),
        (answer(400), SourceRefused),
        (answer(404), SourceRefused),
        (answer(401), SourceRefused),
        (answer(500), SourceUnavailable),
        (answer(502), SourceUnavailable),
        (answer(504), SourceTimeout),
        (answer(500, b"java.util.concurrent.TimeoutException"), SourceTimeout),
        (answer(429, Retry_After="7200"), SourceThrottled),
        (answer(503, Retry_After="7200"), SourceThrottled),
        (answer(200, b"{" + b" " * 2_000), AnswerTooLarge),
        (answer(200, b"{", length=500), TruncatedAnswer),
        (drip_headers, SourceTimeout),
    ],
)
def test_every_kind_of_failure_has_its_error(
    server: ObedientServer, asker: Open, handle: Handle, error: type[ConnectorError]
) -> None:
    server.handle = handle
    with pytest.raises(error, match=r"127\.0\.0\.1"):
        asker(attempts=2, deadline_s=1.0, max_bytes=1_000).ask()


def test_the_deadline_holds_for_the_whole_request_however_slowly_it_drips(
    server: ObedientServer, asker: Open
) -> None:
    server.handle = drip_headers
    with pytest.raises(SourceTimeout):
        asker(attempts=1, deadline_s=0.3).ask()


def test_retry_after_is_waited_out_and_not_by_one_second_less(
    server: ObedientServer, asker: Open, virtual: VirtualTime
) -> None:
    asked_at: list[float] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        asked_at.append(virtual.elapsed)
        answer(429, Retry_After="37")(request)

    server.handle = handle
    with pytest.raises(SourceThrottled):
        asker(attempts=3).ask()
    assert asked_at == [0, 37, 74]


def test_a_host_that_wants_a_long_rest_is_not_asked_again_by_anyone(
    server: ObedientServer, asker: Open
) -> None:
    server.handle = answer(429, Retry_After="3600")
    asking = asker(attempts=5, max_wait_s=60)
    for _ in range(3):
        with pytest.raises(SourceThrottled) as caught:
            asking.ask()
        assert caught.value.retry_after_s == pytest.approx(3600)
    assert server.requests == 1


def test_at_most_three_requests_are_under_way_at_once(server: ObedientServer, asker: Open) -> None:
    under_way: list[int] = []
    most: list[int] = []

    def slow(request: http.server.BaseHTTPRequestHandler) -> None:
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.1)
        under_way.pop()  # before the client can know of its answer
        answer(200, b'{"results": {"bindings": []}}')(request)

    server.handle = slow
    asking = asker()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: asking.ask(), range(12)))
    assert server.requests == 12
    assert max(most) == 3


def test_the_query_budget_of_a_minute_is_kept(
    server: ObedientServer, asker: Open, virtual: VirtualTime
) -> None:
    def expensive(request: http.server.BaseHTTPRequestHandler) -> None:
        virtual.sleep(25)
        answer(200, b'{"results": {"bindings": []}}')(request)

    server.handle = expensive
    asking = asker(max_wait_s=60, budget=Budget(query_seconds_per_minute=60))
    for _ in range(5):
        asking.ask()
    assert virtual.elapsed >= 5 * 25 + 10


def test_a_host_rests_when_it_had_its_errors_of_a_minute(
    server: ObedientServer, asker: Open, virtual: VirtualTime
) -> None:
    server.handle = answer(404)
    asking = asker(budget=Budget(errors_per_minute=4), max_wait_s=60)
    for _ in range(5):
        with pytest.raises(SourceRefused):
            asking.ask()
    assert virtual.elapsed >= 59


def test_the_agent_goes_along_and_must_hold_contact_data(server: ObedientServer, asker: Open) -> None:
    server.handle = answer(200, b'{"results": {"bindings": []}}')
    asker().ask()
    assert server.agents == [AGENT]
    for good in ("x/1 (mailto:a@b.example)", "x/1 (https://b.example/contact)"):
        assert check_agent(good) == good
    with pytest.raises(SourceSettingsError, match="contains no contact information"):
        check_agent("Mozilla/5.0")


def test_retry_after_comes_as_seconds_or_as_a_date() -> None:
    now = datetime(2024, 1, 1, tzinfo=UTC)
    assert retry_after_s("120", now) == 120
    assert retry_after_s("Mon, 01 Jan 2024 00:01:30 GMT", now) == 90
    assert retry_after_s("Sun, 31 Dec 2023 00:00:00 GMT", now) == 0
    assert retry_after_s("soon", now) is None
    assert retry_after_s(None, now) is None


@pytest.mark.parametrize(
    "body", [b"[]", b'{"results": 1}', b'{"boolean": true}', b'{"results": {"bindings": [1]}}']
)
def test_json_that_is_no_result_is_not_taken_for_one(
    server: ObedientServer, virtual: VirtualTime, body: bytes
) -> None:
    server.handle = answer(200, body)
    with pytest.raises(UnexpectedAnswer, match="not a SPARQL result"):
        Asker(server.url, virtual, "sparql", attempts=1).ask()


def test_results_that_virtuoso_cut_at_its_row_limit_are_not_taken_for_whole(
    server: ObedientServer, virtual: VirtualTime
) -> None:
    row = b'{"s": {"type": "literal", "value": "x"}}'
    server.handle = answer(
        200, b'{"results": {"bindings": [' + row + b"," + row + b"]}}", X_SPARQL_MaxRows="2"
    )
    with pytest.raises(TruncatedAnswer, match="cut the answer at 2 rows"):
        Asker(server.url, virtual, "sparql", attempts=1).ask()


def test_many_threads_get_their_own_answers(oxigraph: SparqlServer, virtual: VirtualTime) -> None:
    """SPARQLWrapper mixes up answers when an instance is shared between threads."""
    requester = Requester(oxigraph.endpoint, AGENT, RequestLimits(), virtual.clock, Limiters(virtual.clock))
    client = SparqlClient(requester)

    def ask(n: int) -> str:
        return client.select(f'SELECT ("{n}" AS ?n) WHERE {{}}')[0]["n"].value

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(200))) == [str(n) for n in range(200)]


@pytest.mark.parametrize("fault", ["cut JSON", "cut stream", "cut body"])
def test_a_cut_answer_is_asked_for_again(oxigraph: SparqlServer, virtual: VirtualTime, fault: str) -> None:
    world = World()
    world.add("Q1", "One")
    oxigraph.serve(world)
    proxy = FaultProxy(oxigraph.endpoint)
    proxy.behave(seed=1, most=2, rate=1.0, kinds=(fault,))
    try:
        requester = Requester(proxy.endpoint, AGENT, RequestLimits(), virtual.clock, Limiters(virtual.clock))
        rows = SparqlClient(requester).select("SELECT * WHERE { ?s ?p ?o }")
        assert len(rows) == 3
        assert proxy.dealt == [fault, fault]
    finally:
        proxy.close()
