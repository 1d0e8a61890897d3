"""Decisions as forms: each is a POST under the page it belongs to, with a reason, made by whoever sent it.

The decisions themselves are those of the command line (`kbsync.intake.quarantine`, `kbsync.runs.review`) and requests
to whoever leads; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from kbsync.application import Application
from kbsync.errors import Changed, UsageError
from kbsync.intake.quarantine import Outcome, Word, decide
from kbsync.pages import checkpoints, quarantine, runs
from kbsync.pages.access import Kbsync, Operator, Reviewer, Visitor
from kbsync.pages.paging import Id, Search
from kbsync.pages.rendering import page
from kbsync.pages.submissions import Fields, Form, number
from kbsync.queries.quarantine import dossier
from kbsync.reasons import checked
from kbsync.runs import review
from kbsync.service.actions import resolve_rollback
from kbsync.service.requests import ask
from state import Transaction

router = APIRouter()
WORDS: Mapping[str, Word] = {
    "approve": "approve",
    "reject": "reject",
    "reopen": "reopen",
    "retract": "reject",
    "unretract": "reopen",
}
"""What a form says, and the decision that it is."""
Spoken = Literal["approve", "reject", "reopen", "retract", "unretract"]


def _refusal(error: UsageError) -> tuple[int, str]:
    """409 for what has changed or cannot be decided so, 422 for a form without a reason; and what to say."""
    missing = str(error).startswith("a decision needs a reason")
    return (422 if missing else 409), f"{error}. {error.advice or ''}".strip()


@router.post("/quarantine/decide")
def decide_many(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields) -> Response:
    """Decide about several facts; with the field `rehearse`, only show what would happen."""
    word = WORDS.get(fields.one("word"))
    if word is None:
        raise HTTPException(422, "word: approve, reject or reopen")
    versions = _versions(fields)
    rehearse = bool(fields.one("rehearse"))
    back = quarantine.Waiting.model_validate(dict(request.query_params))
    if not versions:
        return quarantine.list_page(request, app, back, 422, ["Choose at least one fact."])

    def act() -> Response:
        reason = fields.reason or ("a rehearsal" if rehearse else "")
        outcome = decide(app.intake(), word, versions, reason, visitor.name, rehearse=rehearse)
        return _outcome(request, outcome, word, fields)

    try:
        return act() if rehearse else _once(request, visitor, fields, act)
    except UsageError as error:
        status, message = _refusal(error)
        return quarantine.list_page(request, app, back, status, [message])


def _versions(fields: Form) -> dict[int, str]:
    """Each chosen fact with the version that was shown: fields `fact` with values such as `12:3f…`."""
    pairs = (value.partition(":") for value in fields.all("fact"))
    return {number(id, "fact"): version for id, _, version in pairs}


def _outcome(request: Request, outcome: Outcome, word: Word, fields: Form) -> Response:
    return page(
        request,
        "decided.html",
        outcome=outcome,
        word=word,
        reason=fields.reason,
        facts=fields.all("fact"),
        key=fields.one("key"),
    )


@router.post("/quarantine/{id}/{word}")
@router.post("/facts/{id}/{word}")
def decide_one(
    request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id, word: Spoken
) -> Response:
    """Decide about one fact."""
    version = fields.one("version")
    chosen: Mapping[int, str] | list[int] = {id: version} if version else [id]

    def act() -> Response:
        decide(app.intake(), WORDS[word], chosen, fields.reason, visitor.name)
        return RedirectResponse(f"/quarantine/{id}?decided={word}", 303)

    try:
        return _once(request, visitor, fields, act)
    except UsageError as error:
        status, message = _refusal(error)
        return quarantine.review_page(request, app, dossier(app, id), status, message, fields.reason)


@router.post("/runs/{id}/approve")
def approve_run(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id) -> Response:
    """Approve a run's candidate, by its digest: whoever leads promotes it."""
    return _about_run(
        request,
        app,
        visitor,
        fields,
        id,
        lambda: _ask(
            request,
            visitor,
            fields,
            "approve-run",
            lambda tx: review.candidate_of(tx, id, fields.one("digest") or None),
        ),
    )


@router.post("/runs/{id}/reject")
def reject_run(request: Request, app: Kbsync, visitor: Reviewer, fields: Fields, id: Id) -> Response:
    """Reject a run's candidate: live stays as it is."""
    digest = fields.one("digest") or None
    return _about_run(
        request,
        app,
        visitor,
        fields,
        id,
        lambda: review.reject_run(app, id, fields.reason, visitor.name, digest=digest),
    )


def _about_run(
    request: Request, app: Application, visitor: Visitor, fields: Form, id: int, act: Callable[[], object]
) -> Response:
    def answered() -> Response:
        act()
        return RedirectResponse(f"/runs/{id}", 303)

    try:
        return _once(request, visitor, fields, answered)
    except UsageError as error:
        status, message = _refusal(error)
        return runs.run_page(request, app, id, status, message, fields.reason)


@router.post("/checkpoints/rollback")
def rollback(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Go back to a checkpoint that was live before; `live` names the one that the operator saw as live."""
    target = fields.number("to") if fields.one("to") else None
    seen = fields.number("live") if fields.one("live") else None

    def resolve(tx: Transaction) -> dict[str, Any]:
        resolved = resolve_rollback(tx, target)
        if seen is not None and resolved["left"] != seen:
            raise Changed(
                f"checkpoint {resolved['left']} is live now, not {seen} as it was shown",
                "look at the checkpoints again and decide again",
            )
        return resolved

    def act() -> Response:
        asked = _ask(request, visitor, fields, "rollback", resolve)
        return RedirectResponse(f"/requests/{asked}", 303)

    return _about_checkpoints(request, app, visitor, fields, act)


@router.post("/checkpoints/{id}/{word}")
def keep(
    request: Request,
    app: Kbsync,
    visitor: Operator,
    fields: Fields,
    id: Id,
    word: Literal["pin", "unpin", "release"],
) -> Response:
    """Keep a checkpoint for good, or no longer; or allow the view of a rolled-back one again."""

    def act() -> Response:
        reason = checked(fields.reason)
        with app.state.write() as tx:
            if word == "release":
                tx.release_view(tx.checkpoint(id).view, reason, visitor.name)
            else:
                (tx.pin if word == "pin" else tx.unpin)(id, reason, visitor.name)
        return RedirectResponse("/checkpoints", 303)

    return _about_checkpoints(request, app, visitor, fields, act)


def _about_checkpoints(
    request: Request, app: Application, visitor: Visitor, fields: Form, act: Callable[[], Response]
) -> Response:
    try:
        return _once(request, visitor, fields, act)
    except UsageError as error:
        status, message = _refusal(error)
        return checkpoints.list_page(request, app, Search(), status, message, fields.reason)


@router.post("/sync")
def sync(request: Request, app: Kbsync, visitor: Operator, fields: Fields) -> Response:
    """Ask for a cycle now."""

    def act() -> Response:
        asked = _ask(request, visitor, fields, "sync", lambda tx: {"bootstrap": False}, reason="asked for")
        return RedirectResponse(f"/requests/{asked}", 303)

    return _once(request, visitor, fields, act)


@router.get("/requests/{id}")
@router.get("/requests/{id}.json")  # matched first
def asked_for(request: Request, app: Kbsync, visitor: Operator, id: Id) -> Response:
    """A request and, once there is one, its answer."""
    with app.state.read() as tx:
        found = tx.request(id)
        lease, open_runs = tx.lease("leader"), tx.open_runs()
    return page(request, "request.html", asked=found, lease=lease, open_runs=open_runs)


def _ask(
    request: Request,
    visitor: Visitor,
    fields: Form,
    action: str,
    resolve: Callable[[Transaction], Mapping[str, Any]],
    reason: str | None = None,
) -> int:
    """Write a request into the ledger and have it seen to; its number."""
    app: Application = request.app.state.kbsync
    why = checked(fields.reason) if reason is None else reason
    asked = ask(app, action, resolve, reason=why, actor=visitor.name)
    request.app.state.errands.see_to(asked.id)
    return asked.id


def _once(request: Request, visitor: Visitor, fields: Form, act: Callable[[], Response]) -> Response:
    answer: Response = request.app.state.submissions.once(request, visitor.name, fields.one("key"), act)
    return answer
