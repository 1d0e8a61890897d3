"""A small wiki over HTTP: its streams as EventStreams sends them, entity data by revision, and `wbgetentities`.

The stream behaves as `wikimedia/KafkaSSE` does: an id names where to go on, by offset, or by millisecond, which loses
the events that share the last one's.  Asked for an offset that is not kept any more, it goes on with what is kept.
"""

from __future__ import annotations

import http.server
import json
import random
import threading
import urllib.parse
from datetime import datetime
from typing import Any

from tests.support.wikibase_dump import document
from tests.support.wikibase_world import Item, World

TOPIC = "eqiad.rdf-streaming-updater.mutation"


class WikiServer:
    """`publish` adds an event; every connection breaks after `break_after` events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.revisions: dict[tuple[str, int], str] = {}
        self.break_after = 1_000
        self.ids_by_time = False
        """Whether ids name the next millisecond instead of the next offset, as Wikimedia's do."""
        self.kept_from = 0
        """The first offset that the stream still has."""
        self.misbehave: random.Random | None = None
        """Chooses, for each connection, whether to refuse it, what to repeat, and when to break off."""
        self.world: World | None = None
        """What `api.php` reads."""
        self.lagging = 0
        """Requests to `api.php` that are refused because of lag."""
        self.refuse_every_second = False
        """Whether every second connection to the stream is refused."""
        self.asked: list[str] = []
        """Last-Event-ID or since= of every connection to the stream."""
        self.read: list[str] = []
        """Path and query of every request for entity data."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.base = f"http://127.0.0.1:{self._server.server_port}"

    def publish(self, item: Item, operation: str = "diff", parts: int = 1) -> None:
        """The events of an edit, as `rdf-streaming-updater.mutation.v2` has them."""
        for sequence in range(parts):
            self.add(
                {
                    "$schema": "/mediawiki/wikibase/entity/rdf_change/2.0.0",
                    "meta": {"domain": "www.wikidata.org", "stream": "rdf-streaming-updater.mutation.v2"},
                    "dt": _time(item.modified),
                    "entity_id": item.id,
                    "operation": operation,
                    "rev_id": item.version,
                    "sequence": sequence,
                    "sequence_length": parts,
                    "rdf_added_data": {"mime_type": "text/turtle", "data": "<a:a> <a:a> <a:a> ."},
                    "rdf_unlinked_shared_data": {"mime_type": "text/turtle", "data": "<a:a> <a:a> <a:b> ."},
                }
            )

    def add(self, event: dict[str, Any]) -> None:
        """An event of any schema, at the next offset."""
        where = {"topic": TOPIC, "partition": 0, "offset": len(self.events)}
        self.events.append({**event, "meta": {**event.get("meta", {}), **where}})

    def keep(self, world: World, id: str) -> None:
        """The entity's present revision can be read from now on."""
        self.revisions[id, world.items[id].version] = world.turtle_of(id)

    def first_after(self, last: str | None, since: str | None) -> int:
        """The offset from which a connection is served."""
        if last is None:
            later = (n for n, event in enumerate(self.events) if not since or str(event["dt"]) >= since)
            return max(self.kept_from, next(later, len(self.events)))
        (entry,) = json.loads(last)
        if "timestamp" in entry:
            later = (n for n in range(len(self.events)) if self._millisecond(n) >= entry["timestamp"])
            return max(self.kept_from, next(later, len(self.events)))
        return max(self.kept_from, int(entry["offset"]))

    def text_of(self, offset: int) -> bytes:
        """One event as the stream sends it."""
        place = {"timestamp": self._millisecond(offset) + 1} if self.ids_by_time else {"offset": offset + 1}
        id = json.dumps([{"topic": TOPIC, "partition": 0, **place}])
        return f"event: message\nid: {id}\ndata: {json.dumps(self.events[offset])}\n\n".encode()

    def _millisecond(self, offset: int) -> int:
        return int(datetime.fromisoformat(str(self.events[offset]["dt"])).timestamp() * 1000)

    def entities(self, ids: list[str]) -> dict[str, Any]:
        """The answer of `wbgetentities`: a merged entity comes under its heir's name."""
        assert self.world is not None
        assert len(ids) <= 50
        found: dict[str, Any] = {}
        for id in ids:
            item = self.world.items.get(id)
            if item is not None and item.redirect:
                item = self.world.items[item.redirect]
            found[item.id if item else id] = document(item) if item else {"id": id, "missing": ""}
        return found

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        wiki = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                query = dict(urllib.parse.parse_qsl(url.query))
                if url.path == "/stream":
                    self._stream(query)
                elif url.path == "/w/api.php":
                    self._api(query)
                else:
                    self._entity(url)

            def _stream(self, query: dict[str, str]) -> None:
                last, since = self.headers.get("Last-Event-ID"), query.get("since")
                wiki.asked.append(f"after {last}" if last else f"since {since}")
                chance = wiki.misbehave
                refused = chance is not None and chance.random() < 0.05
                if refused or (wiki.refuse_every_second and len(wiki.asked) % 2 == 0):
                    self.send_error(503 if refused else 403)
                    return
                first = wiki.first_after(last, since)
                if first > len(wiki.events):
                    self.send_error(400)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.end_headers()
                self.wfile.write(b":ok\n\n")
                most = wiki.break_after
                if chance is not None:
                    first = max(wiki.kept_from, first - chance.choice((0, 0, 0, 1, 7)))  # some come once more
                    most = chance.randrange(1, 2 * wiki.break_after)
                for sent, offset in enumerate(range(first, len(wiki.events))):
                    text = wiki.text_of(offset)
                    if sent == most:
                        self.wfile.write(text[: len(text) // 2])  # the connection dies within an event
                        return
                    twice = chance is not None and chance.random() < 0.01
                    self.wfile.write(text + text if twice else text)

            def _api(self, query: dict[str, str]) -> None:
                wiki.read.append(f"api {query['ids']}")
                body: dict[str, Any] = {"error": {"code": "maxlag", "info": "Waiting", "lag": 7}}
                lagging, wiki.lagging = wiki.lagging > 0, max(0, wiki.lagging - 1)
                if not lagging:
                    assert query["maxlag"] == "5"
                    assert query["action"] == "wbgetentities"
                    body = {"entities": wiki.entities(query["ids"].split("|")), "success": 1}
                self.send_response(200)
                if lagging:
                    self.send_header("Retry-After", "5")
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def _entity(self, url: urllib.parse.SplitResult) -> None:
                wiki.read.append(f"{url.path}?{url.query}")
                id = url.path.rpartition("/")[2].removesuffix(".ttl")
                revision = int(dict(urllib.parse.parse_qsl(url.query)).get("revision", 0))
                body = wiki.revisions.get((id, revision), "").encode()
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/turtle; charset=utf-8")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        return Handler


def _time(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
