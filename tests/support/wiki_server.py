"""A small wiki over HTTP: the mutation stream, which drops its connections, and entity data by revision."""

from __future__ import annotations

import http.server
import json
import threading
import urllib.parse
from datetime import datetime

from tests.support.wikibase_world import Item, World


class WikiServer:
    """`publish` adds an event; every connection breaks after `break_after` events."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.revisions: dict[tuple[str, int], str] = {}
        self.break_after = 1_000
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
            self.events.append(
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

    def keep(self, world: World, id: str) -> None:
        """The entity's present revision can be read from now on."""
        self.revisions[id, world.items[id].version] = world.turtle_of(id)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        wiki = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urllib.parse.urlsplit(self.path)
                if url.path == "/stream":
                    self._stream(dict(urllib.parse.parse_qsl(url.query)))
                else:
                    self._entity(url)

            def _stream(self, query: dict[str, str]) -> None:
                last, since = self.headers.get("Last-Event-ID"), query.get("since")
                wiki.asked.append(f"after {last}" if last else f"since {since}")
                if wiki.refuse_every_second and len(wiki.asked) % 2 == 0:
                    self.send_error(403)
                    return
                first = json.loads(last)[0]["offset"] + 1 if last else 0
                if first > len(wiki.events):
                    self.send_error(400)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                self.end_headers()
                self.wfile.write(b":ok\n\n")
                sent = 0
                for offset, event in enumerate(wiki.events):
                    if offset < first or (since and not last and str(event["dt"]) < since):
                        continue
                    where = json.dumps([{"topic": "mutation", "partition": 0, "offset": offset}])
                    text = f"event: message\nid: {where}\ndata: {json.dumps(event)}\n\n".encode()
                    if sent == wiki.break_after:
                        self.wfile.write(text[: len(text) // 2])  # the connection dies within an event
                        return
                    self.wfile.write(text)
                    sent += 1

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
