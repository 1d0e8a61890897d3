"""Answers of a server that means us no good: everything that was ever seen to hurt, mixed by chance.

`Hostile(chance)` makes what a SPARQL endpoint, a wiki's entity data and an event stream answer.  Parts of it
are plausible on purpose, so that they get as far into the reader as they can.
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WD, PROP = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/"
ONTOLOGY = "http://wikiba.se/ontology#"
TEXTS = (
    "",
    "Anna",
    "\ud800",
    "a\0b",
    "\x1b]0;owned\x07",
    "\u202eevil",
    "x" * 5_000,
    "{}",
    "²",
    "9" * 5_000,
    "-1",
    "nan",
    "1e999",
    '"> . } DROP ALL #',
    f"{WD}Q1> . }} DROP ALL #",
    f"{WD}Q100",
    "2026-13-45T99:99:99Z",
    "99999999999-01-01T00:00:00Z",
    "\u3164",
    "🏳️‍🌈" * 50,
)
DATES = ("2020-05-01T10:00:00Z", "9000-01-01T00:00:00Z", "-0044-00-00T00:00:00Z", "2026")
LOCATIONS = ("http://[::1", "ftp://127.0.0.1/x", "/elsewhere", "http://xn--/", "", "//evil.example/x", "²")
RETRY_AFTER = ("²", "1", "99999999999999", "-1", "Fri, 31 Dec 9999 23:59:59 GMT", "soon", "\x07")
KINDS = ("version", "label", "alias", "class", "death", "statement", "start", "end", "time", "value")
NAMES = ("s", "is", "version", "modified", "x", "p", "st", "rank", "qualifier", "precision")
ROWS = ("subject", "object", "subject_label", "object_label", "statement", "start", "end", "references")


@dataclass(frozen=True)
class Reply:
    """One answer; `body` goes out as it is."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Hostile:
    chance: random.Random
    elsewhere: str = ""
    """Where redirects should lead, besides to nonsense: a server that nobody must ask."""
    rate: float = 1.0
    """How bad it is; less lets a poll get further before it fails."""

    def _is_bad(self, share: float) -> bool:
        return self.chance.random() < share * self.rate

    def sparql(self, query: str) -> Reply:
        """To any query: of rows if it asks for an ?object, else of a Wikibase."""
        if self._is_bad(0.25):
            return self.refusal()
        names = ROWS if "?object" in query else self.chance.choice((NAMES, NAMES, (*NAMES, "to")))
        return self._coded(self._body(names), self._content_type("application/sparql-results+json"))

    def entity(self) -> Reply:
        """To a request for entity data: Turtle, more or less."""
        if self._is_bad(0.25):
            return self.refusal()
        nested = "<http://a> <http://b> " + "[<http://b> " * 3_000 + "1" + "]" * 3_000 + " ."
        terms = "<http://a> <http://b> " + "<<" * 20_000 + " <a> <b> <c> " + ">>" * 20_000 + " ."
        about = f"<{WD}Q100>"
        statements = "\n".join(
            f"{about} <{PROP}P6> <{WD}statement/Q100-{n}> . <{WD}statement/Q100-{n}> <{ONTOLOGY}rank> "
            f'<{ONTOLOGY}NormalRank> ; <{PROP}statement/P6> "{self._escaped()}" .'
            for n in range(self.chance.choice((1, 3, 1_200)))
        )
        version = f"{about} <http://schema.org/version> {self.chance.choice(('7', '1e999', '-3', '0.5'))} ."
        body = self.chance.choice(
            (nested, terms, version, f"{version}\n{statements}", "\\u0000", "")
        ).encode()
        return self._coded(self._cut(body), self._content_type("text/turtle; charset=utf-8"))

    def events(self) -> bytes:
        """A piece of an event stream."""
        lines = [self._event_line() for _ in range(self.chance.randint(1, 12))]
        return self.chance.choice((b"\n", b"\r\n", b"\r", b"\n\n")).join(lines) + b"\n\n"

    def refusal(self) -> Reply:
        """Any status but 200."""
        status = self.chance.choice((301, 302, 303, 307, 308, 400, 403, 404, 410, 429, 500, 503, 204, 300))
        location = self.chance.choice((*LOCATIONS, self.elsewhere or "http://127.0.0.1:1/"))
        headers = {"Location": location, "Retry-After": self.chance.choice(RETRY_AFTER)}
        return Reply(status, headers, b"\x1b[2Jpassword=\xff" * 10)

    def _body(self, names: Sequence[str]) -> bytes:
        if not self._is_bad(0.25):
            rows = [self._row(names) for _ in range(self.chance.randint(0, 25))]
            return self._cut(json.dumps({"head": {}, "results": {"bindings": rows}}).encode())
        return self.chance.choice(
            (
                b"[" * 100_000,
                b'{"results": {"bindings": [{"s": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}]}}",
                b"9" * 5_000,
                b'{"results": {"bindings": [1e999, NaN, null]}}',
                b'{"results": null}',
                b"\xff\xfe\x00",
                b"",
                b"<html>back soon</html>",
            )
        )

    def _row(self, names: Sequence[str]) -> Any:
        if self._is_bad(0.05):
            return self.chance.choice((None, 1, [], "x"))
        return {name: self._term(name) for name in names if not self._is_bad(0.1)}

    def _term(self, name: str) -> Any:
        if self._is_bad(0.2):
            return self.chance.choice(
                (
                    None,
                    [],
                    "x",
                    {"type": "uri", "value": None},
                    {"type": "uri"},
                    {"type": ["uri"], "value": "x"},
                    {"type": "literal", "value": {"a": 1}},
                    {"type": "literal", "value": "x", "xml:lang": 5},
                    {"type": "triple", "value": {}},
                    {"type": "bnode", "value": "b0"},
                )
            )
        return self._text() if self._is_bad(0.2) else self._plausible(name)

    def _plausible(self, name: str) -> dict[str, str]:
        number = self.chance.randint(100, 103)
        uris = {
            "s": f"{WD}Q{number}",
            "subject": f"{WD}Q{number}",
            "to": f"{WD}Q{number + 1}",
            "p": f"{PROP}P6",
            "st": f"{WD}statement/Q{number}-1",
            "rank": ONTOLOGY + self.chance.choice(("NormalRank", "PreferredRank", "Rank")),
            "qualifier": f"{PROP}qualifier/value/P580",
        }
        if name in uris:
            return {"type": "uri", "value": uris[name]}
        texts = {
            "is": self.chance.choice(KINDS),
            "version": str(self.chance.randint(1, 9)),
            "modified": self.chance.choice(DATES),
            "start": self.chance.choice(DATES),
            "end": self.chance.choice(DATES),
            "precision": self.chance.choice(("9", "11", "0", "99")),
            "statement": str(self.chance.randint(1, 10**6)),
            "references": "1",
        }
        text = texts.get(name, "Anna")
        return {"type": "literal", "value": text, **({"xml:lang": "en"} if name == "x" else {})}

    def _text(self) -> dict[str, str]:
        return {"type": self.chance.choice(("uri", "literal")), "value": self.chance.choice(TEXTS)}

    def _escaped(self) -> str:
        return self.chance.choice(("Anna", "\\u0000", "\\u202E", "x" * 5_000, "\\U0001F3F3"))

    def _event_line(self) -> bytes:
        if not self._is_bad(0.5):
            return b"data: " + json.dumps(self._change()).encode()
        event = {
            "dt": self.chance.choice((*DATES, None)),
            "entity_id": self.chance.choice(("Q100", "Q1", 5, None, "Q100> . }", "../../etc", "\ud800")),
            "rev_id": self.chance.choice((1, 7, -1, 10**30, "²", None, [1])),
            "operation": self.chance.choice(("diff", "delete", "import", None)),
            "sequence": self.chance.choice((0, "x", 10**30)),
            "meta": self.chance.choice(({}, None, [], {"domain": "canary"})),
        }
        return self.chance.choice(
            (
                b"data: " + json.dumps(event).encode(),
                b"data: " + b"[" * 50_000,
                b"data: " + b"9" * 5_000,
                b"data: null",
                b"id: " + self.chance.choice((b"1", b"\x00", b"\xff", b"\x07", b"x" * 20_000, "é".encode())),
                b"event: \xff",
                b":" + b"x" * 1_000,
                b"retry: 99999999999",
                b"\xff\xfe\x00",
                b"",
            )
        )

    def _change(self) -> dict[str, Any]:
        """What the stream says of an entity that changed."""
        return {
            "dt": self.chance.choice((*DATES[:2], "2021-01-01T12:00:00Z")),
            "entity_id": f"Q{self.chance.randint(99, 104)}",
            "rev_id": self.chance.randint(1, 9),
            "operation": self.chance.choice(("diff", "diff", "delete", "import", "reconcile")),
            "sequence": 0,
        }

    def _content_type(self, usual: str) -> dict[str, str]:
        return {
            "Content-Type": usual if self.chance.random() < 0.9 else self.chance.choice(("", "text/html"))
        }

    def _cut(self, body: bytes) -> bytes:
        return body[: self.chance.randint(0, len(body))] if self._is_bad(0.2) else body

    def _coded(self, body: bytes, headers: dict[str, str]) -> Reply:
        if not self._is_bad(0.3):
            return Reply(200, headers, body)
        kind = self.chance.random()
        if kind < 0.3:
            return Reply(200, {**headers, "Content-Encoding": "gzip"}, gzip.compress(body, 1))
        if kind < 0.5:
            twice = gzip.compress(gzip.compress(body, 1), 1)
            return Reply(200, {**headers, "Content-Encoding": "gzip, gzip"}, twice)
        if kind < 0.7:
            return Reply(200, {**headers, "Content-Encoding": "gzip"}, BOMB)
        return Reply(200, {**headers, "Content-Encoding": self.chance.choice(("gzip", "br", "²"))}, body)


def _bomb() -> bytes:
    """A third of a megabyte that becomes 256."""
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(press.compress(bytes(2**20)) for _ in range(256)) + press.flush()


BOMB = _bomb()
