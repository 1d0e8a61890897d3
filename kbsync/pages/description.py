"""What `/openapi.json` says beyond the signatures: the fields of each form, and every status that may be answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RESPONSES: dict[int | str, dict[str, Any]] = {
    303: {"description": "done, or sign in first: see Location"},
    400: {"description": "the request cannot be read"},
    401: {"description": "sign in, or send a token"},
    403: {"description": "another role is needed, or the form was sent by another site"},
    404: {"description": "there is no such thing"},
    405: {"description": "this address takes other methods"},
    409: {"description": "it has changed since it was shown, or cannot be decided so"},
    413: {"description": "the form is too long"},
    415: {"description": "send a form, as application/x-www-form-urlencoded"},
    421: {"description": "this host name is not served"},
    422: {"description": "a field is missing or wrong"},
    503: {"description": "the ledger, the provider or the worker does not answer now"},
}
"""Answers that any address may give besides its own; the pages say what was wrong."""

TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 2_000}
NUMBER: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 2**62}
MEANINGS: Mapping[str, str] = {
    "reason": "why, in at least one word; recorded in the audit log",
    "key": "repeated with the same key, the form gets the first answer; the header Idempotency-Key counts before it",
    "version": "the fact's state as it was shown",
    "digest": "the candidate's digest as it was shown",
    "live": "the checkpoint that was shown as live",
    "to": "the checkpoint to go back to; unset: what was live before",
    "fact": "ID:VERSION of each chosen fact",
    "rehearse": "anything: only show what would happen",
    "prompt": "what the models are asked",
    "checkpoint": "a kept checkpoint that is asked as well",
    "word": "the decision",
}


def form(*required: str, **fields: Mapping[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a form with these fields; those of `required` must be there."""
    properties = {name: {**kind, "description": MEANINGS[name]} for name, kind in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    content = {"application/x-www-form-urlencoded": {"schema": schema}}
    return {"requestBody": {"required": bool(required), "content": content}}


DECISION = form("reason", reason=TEXT, version=TEXT, key=TEXT)
ABOUT_CANDIDATE = form("reason", reason=TEXT, digest=TEXT, key=TEXT)
ROLLBACK = form("reason", reason=TEXT, to=NUMBER, live=NUMBER, key=TEXT)
KEEPING = form("reason", reason=TEXT, key=TEXT)
REQUEST = form(key=TEXT)
PROMPT = form("prompt", prompt=TEXT, checkpoint=NUMBER)
DECISIONS = form(
    "word",
    "fact",
    word={"type": "string", "enum": ["approve", "reject", "reopen", "retract", "unretract"]},
    fact={"type": "array", "items": {"type": "string", "pattern": "^[0-9]+:[0-9a-f]*$"}, "minItems": 1},
    reason=TEXT,
    rehearse=TEXT,
    key=TEXT,
)
