"""Forms that change something: how they are read, and that one is carried out once however often it is sent.

Every form has a key of its own, and a program sends one in the header `Idempotency-Key`
(draft-ietf-httpapi-idempotency-key-header).  A double click, a reload or a retry sends the same key again and gets the
first answer; the same key with other content is refused.
What protects a decision across restarts is what the form says the reviewer has seen (`Fact.version`, a candidate's
digest): once the decision is made, it is no longer so.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import Depends, HTTPException, Request
from starlette.responses import Response

from kbsync.application import Application
from kbsync.pages.access import Visitor

MOST_FIELDS = 500
KEPT = 2_000
"""Answers that are remembered."""
LONGEST_REASON = 2_000
LONGEST_KEY = 255


def new_key() -> str:
    """A key for one form."""
    return secrets.token_urlsafe(16)


class FormFields:
    """The fields of a form, all of them text."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    def one(self, name: str) -> str:
        """The field's only value; empty if it is missing."""
        values = self._fields.get(name, [])
        if len(values) > 1:
            raise HTTPException(422, f"the form has more than one {name}")
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Every value of the field."""
        return self._fields.get(name, [])

    def digest(self) -> str:
        """Of every field with its values: equal for forms that say the same."""
        text = json.dumps(sorted(self._fields.items()))
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def number(self, name: str) -> int:
        """A whole number; raises HTTPException (422) for anything else."""
        return number(self.one(name), name)

    @property
    def reason(self) -> str:
        text = self.one("reason")
        if len(text) > LONGEST_REASON:
            raise HTTPException(422, f"a reason has at most {LONGEST_REASON} characters")
        return text


def number(text: str, name: str) -> int:
    """A whole number of ASCII digits that fits the ledger; raises HTTPException (422)."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise HTTPException(422, f"{name}: {text[:40]!r} is not a number")
    return int(text)


async def read_form(request: Request) -> FormFields:
    """The fields of an ordinary form; raises HTTPException for any other content, or too many fields."""
    if "content-type" not in request.headers and not await request.body():
        return FormFields({})
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "send a form, as application/x-www-form-urlencoded")
    try:
        text = (await request.body()).decode("ascii")
        fields = parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
    except ValueError as error:  # also undecodable bytes
        raise HTTPException(422, f"the form cannot be read: {error}") from error
    if any("\0" in value for values in fields.values() for value in values):
        raise HTTPException(422, "the form contains a NUL character")
    return FormFields(fields)


Fields = Annotated[FormFields, Depends(read_form)]


def _key(request: Request, fields: FormFields) -> str:
    """The key in the header, or else in the form; empty if there is none."""
    sent = request.headers.getlist("idempotency-key")
    if len(sent) > 1 or any(not 0 < len(one) <= LONGEST_KEY for one in sent):
        raise HTTPException(422, f"Idempotency-Key: send it once, with 1 to {LONGEST_KEY} characters")
    return sent[0] if sent else fields.one("key")


class Submissions:
    """The answers to forms by who sent them and by their key."""

    def __init__(self) -> None:
        self._answers: OrderedDict[tuple[str, str, str], tuple[str, Response]] = OrderedDict()
        self._locks: OrderedDict[tuple[str, str, str], threading.Lock] = OrderedDict()
        self._lock = threading.Lock()

    def once(self, request: Request, actor: str, fields: FormFields, act: Callable[[], Response]) -> Response:
        """The answer of `act`, or the one that this form got before; of two at once, the second waits.

        A form without a key is carried out each time.  What raises is not remembered.  Raises HTTPException (422) for
        a key that came before with other content.
        """
        key, content = _key(request, fields), fields.digest()
        if not key:
            return act()
        name = (actor, request.url.path, hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest())
        with self._lock:
            lock = self._locks.setdefault(name, threading.Lock())
            while len(self._locks) > KEPT:
                self._locks.popitem(last=False)
        with lock:
            if (before := self._answers.get(name)) is not None:
                if before[0] != content:
                    raise HTTPException(422, "this key was used before, with other content: send another key")
                return before[1]
            answer = act()
            with self._lock:
                self._answers[name] = (content, answer)
                while len(self._answers) > KEPT:
                    self._answers.popitem(last=False)
            return answer


def carried_out_once(
    request: Request, visitor: Visitor, fields: FormFields | None, act: Callable[[], Response]
) -> Response:
    """The answer of `act`, which acts as the visitor; it is carried out once for the key of `fields` (None: always)."""
    app: Application = request.app.state.kbsync
    submissions: Submissions = request.app.state.submissions
    with app.state.on_behalf_of(visitor.identity):
        return act() if fields is None else submissions.once(request, visitor.name, fields, act)
