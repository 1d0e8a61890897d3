"""Pages that are rendered once for all who look at them at the same time, and answered with 304 where nothing changed.

A rendered page counts while the audit log has no newer event, and for `FRESH` at most, since files and clocks change
without one.  What differs from reader to reader stands in it as a mark, which is replaced in every answer: the key of
a form, and the reader's name.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from fastapi import Request
from markupsafe import escape
from starlette.responses import Response

from kbsync.application import Application
from kbsync.pages.access import Visitor
from kbsync.pages.submissions import new_key
from kbsync.visible import visible

FORM_KEY = f"form-key-{secrets.token_hex(16)}"
"""Stands in rendered pages where each answer has a form's key of its own."""
READER = f"reader-{secrets.token_hex(16)}"
"""Stands in shared pages for the reader's name."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A page as it was rendered, with its marks."""

    body: bytes
    media_type: str
    head: int
    """The newest event when it was read."""
    at: datetime

    def for_reader(self, reader: Visitor) -> bytes:
        """The page that this reader gets."""
        name = str(escape(visible(reader.name))).encode()
        return with_new_key(self.body.replace(READER.encode(), name))

    def tag(self, reader: Visitor) -> str:
        """Changes with what the reader sees; a page with a form also with every event, after which a key is used up."""
        state = self.head if FORM_KEY.encode() in self.body else ""
        seen = hashlib.sha256(f"{state} {reader.name}\n".encode("utf-8", "surrogatepass") + self.body)
        return f'W/"{seen.hexdigest()[:32]}"'


def with_new_key(body: bytes) -> bytes:
    """The rendered page with a key for its forms."""
    return body.replace(FORM_KEY.encode(), new_key().encode())


class SharedPages:
    """The newest rendering of each page and role."""

    FRESH = timedelta(seconds=2)
    LARGEST = 32 << 20
    """Bytes of all of them."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._pages: OrderedDict[tuple[str, ...], Rendered] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._rendering: dict[tuple[str, ...], threading.Lock] = {}

    def answer(self, request: Request, render: Callable[[], Response]) -> Response:
        """The page for this request; of several who ask for it at once, one renders it."""
        reader: Visitor = request.state.visitor
        name = (request.url.path, request.url.query, reader.role, reader.how)
        with self._lock:
            lock = self._rendering.setdefault(name, threading.Lock())
        try:
            with lock:
                found = self._fresh(name) or self._render(name, request, render)
        finally:
            with self._lock:
                self._rendering.pop(name, None)
        return found if isinstance(found, Response) else _answer(request, reader, found)

    def _fresh(self, name: tuple[str, ...]) -> Rendered | None:
        found = self._pages.get(name)
        if found is None or abs(self._app.now() - found.at) > self.FRESH or self._head() != found.head:
            return None
        return found

    def _render(
        self, name: tuple[str, ...], request: Request, render: Callable[[], Response]
    ) -> Rendered | Response:
        """The page, which is kept; any other answer is this reader's own."""
        head, at = self._head(), self._app.now()
        request.state.shared = True
        try:
            answer = render()
        finally:
            request.state.shared = False  # the page of an error is this reader's own
        made = Rendered(bytes(answer.body), answer.media_type or "", head, at)
        if answer.status_code != 200:
            reader: Visitor = request.state.visitor
            return Response(made.for_reader(reader), answer.status_code, media_type=answer.media_type)
        with self._lock:
            if (before := self._pages.pop(name, None)) is not None:
                self._size -= len(before.body)
            self._pages[name] = made
            self._size += len(made.body)
            while self._size > self.LARGEST:
                self._size -= len(self._pages.popitem(last=False)[1].body)
        return made

    def _head(self) -> int:
        with self._app.state.read() as tx:
            return tx.head_number()


def shared(endpoint: Callable[..., Response]) -> Callable[..., Response]:
    """Decorates the endpoint of a page that looks the same to all who have the same role."""

    @wraps(endpoint)
    def answer(request: Request, **parameters: Any) -> Response:
        pages: SharedPages = request.app.state.shared
        return pages.answer(request, lambda: endpoint(request=request, **parameters))

    return answer


def _answer(request: Request, reader: Visitor, found: Rendered) -> Response:
    tag = found.tag(reader)
    headers = {"ETag": tag, "Vary": "Cookie, Authorization"}
    if reader.how == "local":  # what somebody signed in for stays out of the browser's cache
        headers["Cache-Control"] = "private, no-cache"
    if _matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(found.for_reader(reader), media_type=found.media_type, headers=headers)


def _matches(condition: str, tag: str) -> bool:
    """Whether an `If-None-Match` (RFC 9110, 13.1.2) names this version; it is compared weakly."""
    named = {one.strip().removeprefix("W/") for one in condition.split(",")}
    return "*" in named or tag.removeprefix("W/") in named
