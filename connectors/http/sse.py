"""Server-sent events over httpx (WHATWG HTML, section 9.2), resumed by Last-Event-ID."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from connectors.errors import SourceTimeout, SourceUnavailable, UnexpectedAnswer
from connectors.http.client import Requester, error_of

_LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Event:
    """One dispatched event; `id` is the last id that the stream has named up to here."""

    id: str
    type: str
    data: str


class EventParser:
    """Bytes in, whole events out; an event that the stream breaks off is never dispatched."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._rest = ""
        self._id = ""
        self._type = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        text = self._rest + self._decode(piece)
        # A carriage return at the end may be half of a line end.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = _LINE_END.split(text.removesuffix("\r"))
        self._rest = rest + held
        for line in lines:
            if line:
                self._field(line)
            elif (event := self._dispatch()) is not None:
                yield event

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> Event | None:
        data, type_ = self._data, self._type
        self._data, self._type = [], ""
        return Event(self._id, type_ or "message", "\n".join(data)) if data else None


def follow(
    client: httpx.Client, requester: Requester, last_id: str | None, since: str | None, silence_s: float
) -> Iterator[Event]:
    """Events after `last_id`, or else since an instant, until the stream ends.

    Raises SourceTimeout after `silence_s` seconds without a byte, SourceUnavailable when the
    connection breaks; what was yielded before stands.
    """
    headers = {"Accept": "text/event-stream", "User-Agent": requester.agent, "Cache-Control": "no-store"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    params = {"since": since} if since and not last_id else None
    timeout = httpx.Timeout(requester.limits.timeout_s, read=silence_s)
    requester.limiter.wait_turn(requester.limits.max_wait_s)
    parser = EventParser()
    answered = False
    try:
        with (
            requester.limiter.slot(),
            client.stream("GET", requester.url, headers=headers, params=params, timeout=timeout) as response,
        ):
            _require_stream(requester, response)
            answered = True
            for piece in response.iter_bytes():
                yield from parser.feed(piece)
    except httpx.ReadTimeout as error:
        if not answered:
            raise SourceUnavailable(f"{requester.url}: no answer within {silence_s:g} s") from error
        raise SourceTimeout(f"{requester.url}: silent for {silence_s:g} s") from error
    except httpx.TransportError as error:
        raise SourceUnavailable(f"{requester.url}: {error or 'connection lost'}") from error


def _require_stream(requester: Requester, response: httpx.Response) -> None:
    if response.status_code != 200:
        now = requester.clock.now()
        raise error_of(requester.url, response.status_code, response.headers, "", now)
    content_type = response.headers.get("Content-Type", "")
    if not content_type.startswith("text/event-stream"):
        raise UnexpectedAnswer(f"{requester.url}: wanted an event stream, got {content_type!r}")
