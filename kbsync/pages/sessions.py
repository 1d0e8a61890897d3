"""Who is signed in through a provider: sessions in this process's memory, and sign-ins that have begun.

A browser has a random secret in a cookie, of which only the digest is kept here.  A restart, like a reload of the
daemon's settings, ends every session: the provider then signs the visitors in again, usually without asking.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from state.tokens import digest_of_secret

Who = TypeVar("Who")

MOST = 10_000
"""Sessions that are kept; the oldest end first."""
TO_SIGN_IN = timedelta(minutes=10)
"""Time that a visitor has at the provider."""


@dataclass(frozen=True, slots=True)
class Session(Generic[Who]):
    """One signed-in browser."""

    who: Who
    ends: datetime


class Sessions(Generic[Who]):
    """Sessions by the digest of their secret."""

    def __init__(self, now: Callable[[], datetime], length: timedelta) -> None:
        self._now, self._length = now, length
        self._kept: OrderedDict[str, Session[Who]] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, who: Who) -> str:
        """A new session; its secret, for the cookie."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            self._kept[digest_of_secret(secret)] = Session(who, self._now() + self._length)
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return secret

    def of(self, secret: str) -> Who | None:
        """Who has this session; None if there is none, or if it has ended."""
        found = self._kept.get(digest_of_secret(secret))
        return found.who if found is not None and self._now() < found.ends else None

    def end(self, secret: str) -> Who | None:
        """End a session; whose it was."""
        with self._lock:
            found = self._kept.pop(digest_of_secret(secret), None)
        return None if found is None else found.who


class Sealed:
    """Text that a browser keeps and cannot change: sealed under a key of this process, for `TO_SIGN_IN`."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now, self._key = now, secrets.token_bytes(32)

    def seal(self, text: str) -> str:
        ends = int((self._now() + TO_SIGN_IN).timestamp())
        body = base64.urlsafe_b64encode(f"{ends} {text}".encode()).decode()
        return f"{body}.{self._mac(body)}"

    def open(self, sealed: str) -> str | None:
        """The text; None if it was changed, is another process's, or has ended."""
        body, _, mac = sealed.partition(".")
        if not hmac.compare_digest(self._mac(body).encode(), mac.encode()):
            return None
        ends, _, text = base64.urlsafe_b64decode(body).decode().partition(" ")
        return text if int(self._now().timestamp()) < int(ends) else None

    def _mac(self, body: str) -> str:
        return hmac.new(self._key, body.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
