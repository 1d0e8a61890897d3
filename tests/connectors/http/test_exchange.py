"""What a server may not do to us: lead us elsewhere, fill our memory, or hold us for ever."""

from __future__ import annotations

import gzip
import http.server
import json
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pydantic
import pytest

from connectors.errors import (
    AnswerTooLarge,
    SourceRefused,
    SourceThrottled,
    SourceTimeout,
    TruncatedAnswer,
    UnexpectedAnswer,
)
from connectors.http.client import HttpAnswer, Requester, RequestLimits, stepwise
from connectors.http.exchange import Deadline, new_client
from connectors.http.limits import Limiters
from connectors.http.sparql_client import Credentials, SparqlClient, parse_solutions
from connectors.http.status import MAX_RETRY_AFTER_S, retry_after_s
from tests.support.obedient_server import Handle, ObedientServer, answer
from tests.support.sparql_server import AGENT
from tests.support.virtual_time import VirtualTime

SECRET = "open-sesame"
ROWS = b'{"results": {"bindings": [{"s": {"type": "literal", "value": "x"}}]}}'
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def server() -> Iterator[ObedientServer]:
    found = ObedientServer()
    yield found
    found.close()


@pytest.fixture
def elsewhere() -> Iterator[ObedientServer]:
    found = ObedientServer()
    found.handle = answer(200, ROWS)
    yield found
    found.close()


class Asker:
    """Both ways to ask a host that knows us by password, or need not."""

    def __init__(self, server: ObedientServer, transport: str, **limits: object) -> None:
        virtual = VirtualTime()
        self.requester = Requester(
            server.url,
            AGENT,
            RequestLimits(**{"attempts": 2, "deadline_s": 10.0, **limits}),  # type: ignore[arg-type]
            virtual.clock,
            Limiters(virtual.clock),
        )
        self._transport = transport

    def ask(self) -> object:
        if self._transport == "get":
            return self.requester.get(self.requester.url).body
        credentials = Credentials("sync", pydantic.SecretStr(SECRET))
        return SparqlClient(self.requester, credentials).select("SELECT * WHERE { ?s ?p ?o }")


@pytest.fixture(params=["sparql", "get"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def redirect(status: int, location: str) -> Handle:
    return answer(status, b"moved", Location=location)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_leads_to_another_host_and_no_password_goes_there(
    server: ObedientServer, elsewhere: ObedientServer, transport: str, status: int
) -> None:
    server.handle = redirect(status, elsewhere.url)
    with pytest.raises(SourceRefused, match=rf"HTTP {status}, Location '{elsewhere.url}'"):
        Asker(server, transport).ask()
    assert server.requests == 1  # named, and not tried again
    assert elsewhere.heard == []


@pytest.mark.parametrize(
    "location",
    [
        "http://[::1",
        "ftp://127.0.0.1/x",
        "file:///etc/passwd",
        "//evil.example/x",
        "https://127.0.0.1/",
        "http://sync:pw@127.0.0.1/",
        "http://\x7f/",
        "http://xn--/",
        "http://127.0.0.1:99999/",
        "²",
        "javascript:1",
    ],
)
def test_a_location_that_is_not_this_origin_is_named_and_not_followed(
    server: ObedientServer, location: str
) -> None:
    location = location.replace("sync:pw@127.0.0.1", f"sync:pw@127.0.0.1:{server.url.rsplit(':')[-1][:-1]}")

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: ")
        request.wfile.write(location.encode() + b"\r\n\r\n")
        request.close_connection = True

    server.handle = handle
    with pytest.raises(SourceRefused, match=r"HTTP 302, Location .* same scheme, host and port"):
        Asker(server, "sparql").ask()


@pytest.mark.parametrize("status", [307, 308])
def test_a_redirect_within_the_origin_that_keeps_the_method_is_followed(
    server: ObedientServer, transport: str, status: int
) -> None:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        (answer(200, ROWS) if request.path == "/there" else redirect(status, "/there"))(request)

    server.handle = handle
    assert Asker(server, transport).ask()
    first, second = server.heard
    assert first.partition(b"\n")[2].lower() == second.partition(b"\n")[2].lower()


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_query_is_never_turned_into_a_get(server: ObedientServer, status: int) -> None:
    server.handle = redirect(status, "/there")
    with pytest.raises(SourceRefused, match="/there"):
        Asker(server, "sparql").ask()
    assert server.requests == 1


def test_a_circle_of_redirects_ends(server: ObedientServer, transport: str) -> None:
    server.handle = redirect(307, "/again")
    with pytest.raises(SourceRefused, match="more than 3 times"):
        Asker(server, transport).ask()
    assert server.requests == 4


def test_gzip_is_read_and_every_other_coding_is_refused(server: ObedientServer, transport: str) -> None:
    halves = gzip.compress(ROWS[:20]) + gzip.compress(ROWS[20:])
    server.handle = answer(200, halves, Content_Encoding="gzip")
    assert Asker(server, transport).ask()
    for coding in ("gzip, gzip", "br", "deflate", "gzip,identity", "²"):
        server.handle = answer(200, gzip.compress(gzip.compress(ROWS)), Content_Encoding=coding)
        if coding == "²":
            server.handle = answer(200, ROWS, Content_Encoding="\xb2")
        with pytest.raises(UnexpectedAnswer, match="only gzip was requested"):
            Asker(server, transport).ask()


def test_a_decompression_bomb_ends_at_the_cap(server: ObedientServer, transport: str) -> None:
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(press.compress(bytes(2**20)) for _ in range(300)) + press.flush()
    assert len(bomb) < 400_000
    for status, error in ((200, AnswerTooLarge), (404, SourceRefused)):
        server.handle = answer(status, bomb, Content_Encoding="gzip")
        with pytest.raises(error):
            Asker(server, transport, max_bytes=2**20).ask()


def test_gzip_that_breaks_off_or_is_none_is_an_error_of_the_source(
    server: ObedientServer, transport: str
) -> None:
    server.handle = answer(200, gzip.compress(ROWS)[:-10], Content_Encoding="gzip")
    with pytest.raises(TruncatedAnswer, match="the gzip stream is truncated"):
        Asker(server, transport).ask()
    server.handle = answer(200, ROWS, Content_Encoding="gzip")
    with pytest.raises(UnexpectedAnswer, match="not gzip"):
        Asker(server, transport).ask()


def test_a_body_without_a_length_that_drips_ends_at_the_deadline(
    server: ObedientServer, transport: str
) -> None:
    def drip(request: http.server.BaseHTTPRequestHandler) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/sparql-results+json\r\n\r\n")
        while True:  # until the client has had enough
            request.wfile.write(b" ")
            request.wfile.flush()
            time.sleep(0.05)

    server.handle = drip
    with pytest.raises(SourceTimeout, match=r"no complete answer within 0\.4 s"):
        Asker(server, transport, attempts=1, deadline_s=0.4).ask()


@pytest.mark.parametrize("body", ["br", "gzip", "cut"])
def test_a_status_counts_whatever_its_body_is(server: ObedientServer, transport: str, body: str) -> None:
    def refuse(request: http.server.BaseHTTPRequestHandler) -> None:
        coding = f"Content-Encoding: {body}\r\n" if body in ("br", "gzip") else ""
        length = "Content-Length: 9\r\n" if body == "cut" else ""
        head = f"HTTP/1.0 429 Slow Down\r\nRetry-After: 77\r\n{coding}{length}\r\n"
        request.wfile.write(head.encode() + b"no gzip"[: 3 if body == "cut" else None])

    server.handle = refuse
    with pytest.raises(SourceThrottled) as throttled:
        Asker(server, transport, attempts=1).ask()
    assert throttled.value.retry_after_s == 77


def test_how_long_to_wait_counts_although_its_body_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline(600)

    class Late(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"slow"
            deadline._pass()
            raise httpx.ReadError("shut down")

    def refuse(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "77"}, stream=Late())

    monkeypatch.setattr(Requester, "client", new_client(httpx.MockTransport(refuse)))
    requester = Requester("http://e.example/", AGENT, RequestLimits())
    with deadline, pytest.raises(SourceThrottled, match="slow") as throttled:
        requester.fetch(httpx.Request("GET", requester.url), deadline)
    assert throttled.value.retry_after_s == 77


def test_an_address_that_a_server_chose_is_shown_shortened(server: ObedientServer, transport: str) -> None:
    server.handle = redirect(308, "/" + "a" * 50_000)
    with pytest.raises(SourceRefused, match="redirected more than 3 times") as refused:
        Asker(server, transport).ask()
    assert len(str(refused.value)) < 500


def test_all_attempts_of_a_step_have_one_allowance_of_time(server: ObedientServer, transport: str) -> None:
    server.handle = answer(500, b"no")
    asker = Asker(server, transport, attempts=1_000)
    asker.requester.allow(100)
    with pytest.raises(SourceTimeout, match=r"one step took longer than 100 s.*`step_deadline_s`"):
        asker.ask()
    assert server.requests < 20


def test_what_the_consumer_of_a_step_does_takes_nothing_from_the_next_one(server: ObedientServer) -> None:
    requester = Asker(server, "get").requester
    for _ in stepwise(iter(range(3)), [requester], 10):
        requester.clock.sleep(1_000)
    requester.clock.sleep(1_000)
    with pytest.raises(SourceTimeout):
        requester.time_left_s()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("²", None),
        ("٣", None),
        ("-1", None),
        ("1e9", None),
        ("9" * 5_000, None),
        ("Mon, 01 Jan 99999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2024 00:00:00 +999999", None),
        ("\x00", None),
        ("", None),
        ("999999999", MAX_RETRY_AFTER_S),
        ("Fri, 31 Dec 9999 00:00:00 GMT", MAX_RETRY_AFTER_S),
    ],
)
def test_a_retry_after_that_cannot_be_read_is_none_and_none_lasts_longer_than_a_day(
    value: str, seconds: float | None
) -> None:
    assert retry_after_s(value, NOW) == seconds


def test_cookies_are_not_kept(server: ObedientServer, transport: str) -> None:
    server.handle = answer(200, ROWS, Set_Cookie="id=1; Path=/")
    asker = Asker(server, transport)
    asker.ask()
    asker.ask()
    assert len(server.heard) == 2
    assert not any(b"cookie" in heard.lower() for heard in server.heard)


def solutions(*terms: object) -> list[dict[str, object]]:
    body = json.dumps({"results": {"bindings": [{"x": term} for term in terms]}}).encode()
    found = parse_solutions("http://e", HttpAnswer({"Content-Type": "application/json"}, body))
    return [{"kind": row["x"].kind, "value": row["x"].value} for row in found]


def test_a_term_that_cannot_be_used_costs_its_row_and_not_the_answer() -> None:
    good = {"type": "uri", "value": "http://a"}
    bad = [
        {"type": "uri", "value": None},
        {"type": "uri"},
        {"type": "uri", "value": 1},
        {"type": None, "value": "x"},
        {"type": ["uri"], "value": "x"},
        {"type": "triple", "value": {}},
        {"type": "literal", "value": "a\ud800"},
        {"type": "literal", "value": "a\0"},
        {"type": "literal", "value": "x" * 5_000},
        {"type": "literal", "value": "x", "xml:lang": 5},
        {"type": "literal", "value": "x", "datatype": "a\ud800"},
        None,
        "x",
        [],
    ]
    found = solutions(good, *bad, good)
    assert found[0] == found[-1] == {"kind": "uri", "value": "http://a"}
    assert [row["kind"] for row in found[1:-1]] == ["unusable"] * len(bad)


@pytest.mark.parametrize(
    "body",
    [
        b'{"results": {"bindings": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b'{"results": {"bindings": [{"x": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}]}}",
        b'{"results": {"bindings": "abc"}}',
        b'{"results": {"bindings": null}}',
        b'{"results": {"bindings": {}}}',
        b'{"results": {"bindings": ""}}',
        b'{"results": {"bindings": [[]]}}',
        b'{"results": []}',
        b'{"head": {}, "boolean": true}',
        b"null",
        b"9" * 5_000,
    ],
)
def test_deep_or_misshapen_json_is_an_answer_that_was_not_expected(body: bytes) -> None:
    with pytest.raises(UnexpectedAnswer):
        parse_solutions("http://e", HttpAnswer({"Content-Type": "application/json"}, body))
