"""Server-sent events over httpx (WHATWG HTML, section 9.2), resumed by Last-Event-ID."""

from __future__ import annotations

import codecs
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from connectors.border import shown
from connectors.errors import SourceTimeout, SourceUnavailable, UnexpectedAnswer
from connectors.http.client import Requester
from connectors.http.exchange import Deadline, opened
from connectors.http.status import error_of

_log = logging.getLogger(__name__)
_LINE_END = re.compile(r"\r\n|\n|\r")
_ID = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{0,16384}")
"""Ids are sent as a request header.  An id that cannot be is ignored, and its event is delivered again."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One dispatched event; `id` is the last id that the stream has sent so far."""

    id: str
    type: str
    data: str


class EventParser:
    """Parses bytes into complete events; an event that the stream truncates is never dispatched.

    An event of more than `max_event` characters is dropped with a warning, and parsing continues.
    """

    def __init__(self, max_event: int = 16 * 2**20) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
        self._max_event = max_event
        self._line: list[str] = []
        """Pieces of the line that has not ended."""
        self._length = 0
        """Their characters."""
        self._returned = False
        """Whether the last character was a carriage return: a line feed after it ends no other line."""
        self._id = ""
        self._type = ""
        self._data: list[str] = []
        self._size = 0
        """Characters of the current event's data so far."""
        self._dropped = False
        """Whether the current event is too large."""
        self._cut = False
        """Whether the beginning of the current line was discarded."""

    def feed(self, piece: bytes) -> Iterator[StreamEvent]:
        """The events that end within `piece`."""
        text = self._decode(piece)
        if not text:
            return
        if self._returned:
            text = text.removeprefix("\n")
        self._returned = text.endswith("\r")
        *lines, rest = _LINE_END.split(text)
        for line in lines:
            whole = "".join((*self._line, line))
            self._line, self._length = [], 0
            if self._cut:
                self._cut = False
            elif whole:
                self._field(whole)
            elif (event := self._dispatch()) is not None:
                yield event
        # Pieces are joined once: a long line in many pieces would otherwise be copied for each of them.
        self._line.append(rest)
        self._length += len(rest)
        if self._size + self._length > self._max_event:
            self._data, self._size, self._dropped = [], 0, True
            self._cut = self._cut or self._length > 0
            self._line, self._length = [], 0

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(value) + 1
        elif name == "event":
            self._type = value
        elif name == "id" and _ID.fullmatch(value):
            self._id = value

    def _dispatch(self) -> StreamEvent | None:
        data, type_, dropped = self._data, self._type, self._dropped
        self._data, self._type, self._size, self._dropped = [], "", 0, False
        if dropped:
            _log.warning("an event of more than %d characters is skipped", self._max_event)
            return None
        return StreamEvent(self._id, type_ or "message", "\n".join(data)) if data else None


def follow(
    requester: Requester, last_id: str | None, since: str | None, silence_s: float, deadline: Deadline
) -> Iterator[StreamEvent]:
    """Yield events after `last_id`, or else since an instant, until the stream ends.

    Raises SourceTimeout after `silence_s` seconds without a byte, and when the deadline passes, because
    a stream of comments never falls silent.  Raises SourceUnavailable when the connection breaks or no
    stream begins.  Events that were already yielded stay valid.
    """
    limits = requester.limits
    requester.limiter.wait_turn(min(limits.max_wait_s, requester.time_left_s()))
    timeout = httpx.Timeout(limits.timeout_s, read=silence_s)
    parser = EventParser(limits.max_bytes)
    answered = False
    try:
        with (
            requester.limiter.slot(deadline.seconds),
            opened(requester.client, _request(requester, last_id, since), deadline, timeout) as response,
        ):
            _require_stream(requester, response)
            answered = True
            for piece in response.iter_raw():
                yield from parser.feed(piece)
    except SourceTimeout as error:
        if answered:
            raise
        raise SourceUnavailable(f"{requester.url}: no stream started: {error}") from error


def _request(requester: Requester, last_id: str | None, since: str | None) -> httpx.Request:
    headers = {
        b"Accept": b"text/event-stream",
        b"Accept-Encoding": b"identity",
        b"User-Agent": requester.agent.encode(),
        b"Cache-Control": b"no-store",
    }
    if last_id:
        headers[b"Last-Event-ID"] = last_id.encode()
    params = {"since": since} if since and not last_id else None
    return httpx.Request("GET", requester.url, params=params, headers=headers)


def _require_stream(requester: Requester, response: httpx.Response) -> None:
    if response.status_code != 200:
        now = requester.clock.now()
        raise error_of(requester.url, response.status_code, response.headers, "", now)
    content_type = response.headers.get("Content-Type", "")
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if not content_type.startswith("text/event-stream") or coding != "identity":
        raise UnexpectedAnswer(
            f"{requester.url}: expected an event stream, got {shown(content_type)} "
            f"with Content-Encoding {shown(coding)}"
        )
